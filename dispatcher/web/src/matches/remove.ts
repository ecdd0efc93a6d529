// Deleting a match, from the list or from its page.

import { call } from '../api/client';
import { Problem, describe } from '../api/problem';
import type { Job } from '../api/types';
import { confirm } from '../ui/confirm';
import { notice } from '../ui/notices';
import { dismissMatch } from '../upload/transfers';
import { forget } from './jobs';

/** Asks, deletes, and says so. False when the match is still there. The answer may take seconds: the person may have gone
 * elsewhere by then.
 *
 * @param onAgreed called between the two. */
export async function removeMatch(job: Job, onAgreed?: () => void): Promise<boolean> {
  const video = job.upload_id ? ', with the uploaded video unless another match was made of it,' : '';
  const question = {
    title: 'Delete this match?',
    text: `“${job.title}” and its clips${video} are deleted for good. Links to them stop playing.`,
    yes: 'Delete the match',
    no: 'Keep it',
  };
  if (!(await confirm(question))) return false;
  onAgreed?.();
  try {
    await call<void>(`/v1/jobs/${job.id}`, { method: 'DELETE' });
  } catch (error) {
    // Gone already: the first answer was lost, or somebody else was faster.
    if (!(error instanceof Problem && error.status === 404)) {
      notice(describe(error), true);
      return false;
    }
  }
  forget(job.id);
  dismissMatch(job.id);
  notice(`Deleted: ${job.title}`);
  return true;
}
