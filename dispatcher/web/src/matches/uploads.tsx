// Files on their way, and those that were left unfinished.

import type { Upload } from '../api/types';
import { bytes, percent } from '../text/size';
import { roughly } from '../text/time';
import { confirm } from '../ui/confirm';
import { Icon } from '../ui/icons';
import type { Transfer } from '../upload/transfer';
import { dismiss, forget, titleOf, transfers, unfinished } from '../upload/transfers';
import { Estimate } from './estimate';

export function Uploads() {
  if (transfers.value.length === 0 && unfinished.value.length === 0) return null;
  return (
    <section aria-labelledby="uploads-title">
      <h2 id="uploads-title" class="section-title" tabIndex={-1}>
        Uploads
      </h2>
      <ul class="uploads">
        {transfers.value.map((transfer) => (
          <TransferRow key={transfer} transfer={transfer} />
        ))}
        {unfinished.value.map((upload) => (
          <UnfinishedRow key={upload.id} upload={upload} />
        ))}
      </ul>
    </section>
  );
}

/** The button that was pressed goes away with its row. */
function focusUploads(): void {
  const isLeft = transfers.value.length > 0 || unfinished.value.length > 0;
  document.getElementById(isLeft ? 'uploads-title' : 'main')?.focus();
}

async function cancel(transfer: Transfer): Promise<void> {
  const question = {
    title: 'Cancel this upload?',
    text: `What has arrived of “${titleOf(transfer.file.name)}” is thrown away.`,
    yes: 'Cancel the upload',
    no: 'Keep uploading',
  };
  if (transfer.sentBytes.value > 0 && !(await confirm(question))) return;
  // It may have been completed while the question was open.
  if (!isOver(transfer)) void transfer.cancel();
  remove(transfer);
}

function remove(transfer: Transfer): void {
  dismiss(transfer);
  focusUploads();
}

async function discard(upload: Upload): Promise<void> {
  const question = {
    title: 'Discard this upload?',
    text: `What has arrived of “${titleOf(upload.filename)}” is thrown away.`,
    yes: 'Discard',
    no: 'Keep it',
  };
  if (!(await confirm(question))) return;
  void forget(upload);
  focusUploads();
}

function isOver(transfer: Transfer): boolean {
  return ['done', 'failed', 'cancelled'].includes(transfer.state.value);
}

function words(transfer: Transfer): string {
  const { size } = transfer.file;
  const sent = transfer.sentBytes.value;
  const amount = `${bytes(sent)} of ${bytes(size)}`;
  switch (transfer.state.value) {
    case 'reading':
      return 'Reading the file';
    case 'sending': {
      const rate = transfer.bytesPerSecond.value;
      const left = transfer.secondsLeft.value;
      const again = transfer.isResumed.value ? 'Continued. ' : '';
      return rate === null || left === null
        ? `${again}${amount}`
        : `${again}${amount}, ${bytes(rate)}/s, ${roughly(left)} left`;
    }
    case 'lost':
      return `The connection is lost. It goes on by itself when it is back. ${amount}`;
    case 'paused':
      return `Paused. ${amount}`;
    case 'finishing':
      return 'Checking that everything arrived';
    case 'done':
      return transfer.error.value
        ? `Uploaded, but it is not being prepared. ${transfer.error.value}`
        : `Uploaded, ${bytes(size)}`;
    case 'failed':
      return transfer.error.value ?? 'The upload failed.';
    case 'cancelled':
      return 'Cancelled';
  }
}

function TransferRow({ transfer }: { transfer: Transfer }) {
  const state = transfer.state.value;
  const share = transfer.file.size > 0 ? transfer.sentBytes.value / transfer.file.size : 0;
  const name = transfer.file.name;
  const hasEnded = isOver(transfer);
  const job = transfer.upload.value?.job_id;
  const tone =
    state === 'failed' || transfer.error.value ? 'bad' : state === 'lost' ? 'warn' : state === 'done' ? 'good' : 'busy';
  return (
    <li class={`upload tone-${tone}`} data-state={state}>
      <div class="upload-text">
        <p class="upload-name">{titleOf(name)}</p>
        <p class="upload-words" aria-live={state === 'lost' || state === 'failed' ? 'assertive' : 'off'}>
          {words(transfer)}
        </p>
        {!hasEnded && <Estimate file={transfer.file} />}
        {!hasEnded && (
          <div
            class="upload-bar"
            role="progressbar"
            aria-label={`Upload of ${name}`}
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={Math.floor(share * 100)}
            aria-valuetext={`${percent(share)}, ${words(transfer)}`}
          >
            <div class="upload-bar-fill" style={{ width: `${share * 100}%` }} />
          </div>
        )}
      </div>
      <div class="upload-actions">
        {(state === 'sending' || state === 'lost') && (
          <button
            type="button"
            class="icon-button"
            aria-label={`Pause the upload of ${name}`}
            title="Pause"
            onClick={() => transfer.pause()}
          >
            <Icon name="pause" />
          </button>
        )}
        {(state === 'paused' || state === 'failed') && (
          <button type="button" class="button" onClick={() => transfer.resume()}>
            {state === 'paused' ? 'Continue' : 'Try again'}
          </button>
        )}
        {state === 'done' && job && (
          <a class="button" href={`/jobs/${job}`}>
            Open
          </a>
        )}
        <button
          type="button"
          class="icon-button"
          aria-label={hasEnded ? `Remove ${name} from this list` : `Cancel the upload of ${name}`}
          title={hasEnded ? 'Remove from this list' : 'Cancel'}
          onClick={() => (hasEnded ? remove(transfer) : void cancel(transfer))}
        >
          <Icon name="close" />
        </button>
      </div>
    </li>
  );
}

function UnfinishedRow({ upload }: { upload: Upload }) {
  const share = upload.size_bytes > 0 ? upload.received_bytes / upload.size_bytes : 0;
  return (
    <li class="upload" data-state="unfinished">
      <div class="upload-text">
        <p class="upload-name">{titleOf(upload.filename)}</p>
        <p class="upload-words">
          {percent(share)} of {bytes(upload.size_bytes)} had arrived. Choose <strong>{upload.filename}</strong> again to
          continue.
        </p>
        <div
          class="upload-bar"
          role="progressbar"
          aria-label={`Unfinished upload of ${upload.filename}`}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.floor(share * 100)}
        >
          <div class="upload-bar-fill" style={{ width: `${share * 100}%` }} />
        </div>
      </div>
      <div class="upload-actions">
        <button
          type="button"
          class="icon-button"
          aria-label={`Discard the unfinished upload of ${upload.filename}`}
          title="Discard"
          onClick={() => void discard(upload)}
        >
          <Icon name="close" />
        </button>
      </div>
    </li>
  );
}
