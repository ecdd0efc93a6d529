// Deleting a match, from the list or from its page.

import { call } from '../api/client';
import { describe } from '../api/problem';
import type { Job } from '../api/types';
import { confirm } from '../ui/confirm';
import { notice } from '../ui/notices';
import { dismissMatch } from '../upload/transfers';

/** Asks, deletes, and says so. False when the match is still there. */
export async function removeMatch(job: Job): Promise<boolean> {
  const video = job.upload_id ? ', with the video that was uploaded,' : '';
  const question = {
    title: 'Delete this match?',
    text: `“${job.title}” and its clips${video} are deleted for good. Links to them stop playing.`,
    yes: 'Delete the match',
    no: 'Keep it',
  };
  if (!(await confirm(question))) return false;
  try {
    await call<void>(`/v1/jobs/${job.id}`, { method: 'DELETE' });
    dismissMatch(job.id);
    notice(`Deleted: ${job.title}`);
    return true;
  } catch (error) {
    notice(describe(error), true);
    return false;
  }
}
