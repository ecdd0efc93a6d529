// Capacity: pools that machines come from, and the workers on them.

import type { Gpu, Pool, Worker } from '../api/types';
import { bytes, plural, usd } from '../text/size';
import { clock } from '../text/time';
import { drain } from './fleet';
import type { Sheet } from './table';

export const pools: Sheet<Pool> = {
  caption: 'Pools of capacity',
  columns: [
    { name: 'Pool', cell: (p) => <strong>{p.name}</strong> },
    { name: 'Region', cell: (p) => p.region },
    { name: 'Instance', cell: (p) => <span class="mono">{p.instance_type}</span> },
    { name: 'Option', cell: (p) => (p.option === 'spot' ? 'Spot' : 'On demand') },
    {
      name: 'Running',
      isNumber: true,
      cell: (p) => (p.booting > 0 ? `${p.running} + ${p.booting} booting` : p.running),
    },
    { name: 'Limit', isNumber: true, cell: (p) => p.limit },
    {
      name: 'Price an hour',
      isNumber: true,
      cell: (p) => (p.price_per_hour_usd === null ? '' : usd(p.price_per_hour_usd)),
    },
    { name: 'Note', cell: (p) => p.note ?? '' },
  ],
  keyOf: (p) => `${p.region}/${p.name}`,
  empty: 'No pools: workers on this machine start when there is work.',
};

export const workers: Sheet<Worker> = {
  caption: 'Workers',
  columns: [
    {
      name: 'Worker',
      cell: (w) => (
        <>
          <strong>{w.host}</strong> <span class="muted mono small">{w.id.slice(-6)}</span>
        </>
      ),
    },
    { name: 'Where', cell: (w) => (w.pool ? `${w.pool}, ${w.region}` : w.region) },
    {
      name: 'State',
      cell: (w) => (
        <span class={`state ${w.state === 'ready' ? 'good' : w.state === 'gone' ? 'bad' : 'warn'}`}>{stateOf(w)}</span>
      ),
    },
    {
      name: 'Busy',
      cell: (w) => (
        <Meter
          name={`Work of ${w.host}`}
          share={w.slots > 0 ? w.busy / w.slots : 0}
          // Sound takes no slot, so there may be more chunks than slots.
          text={`${plural(w.busy, 'chunk')}, ${plural(w.slots, 'slot')}`}
        />
      ),
    },
    { name: 'Encodes with', cell: (w) => w.backends.join(', ') },
    { name: 'GPU', cell: (w) => <GpuFigures gpu={w.gpu} host={w.host} /> },
    { name: 'Heard', cell: (w) => (w.silent_s < 2 ? 'just now' : `${Math.round(w.silent_s)} s ago`) },
    {
      name: 'Actions',
      isNameHidden: true,
      cell: (w) =>
        w.state === 'ready' && (
          <button type="button" class="button small" aria-label={`Drain ${w.host}`} onClick={() => void drain(w.id)}>
            Drain
          </button>
        ),
    },
  ],
  keyOf: (w) => w.id,
  empty: 'No worker runs: there is no work.',
};

function stateOf(worker: Worker): string {
  if (worker.state === 'draining') return 'Draining';
  if (worker.state === 'gone') return 'Gone';
  return worker.idle_s === null ? 'Ready' : `Idle for ${clock(worker.idle_s)}`;
}

function GpuFigures({ gpu, host }: { gpu: Gpu | null; host: string }) {
  if (!gpu) return <span class="muted">None</span>;
  const { total_bytes: total, free_bytes: free } = gpu;
  const figures = [
    ...(gpu.sessions === null ? [] : [plural(gpu.sessions, 'session')]),
    ...(total === null || free === null ? [] : [`${bytes(total - free)} of ${bytes(total)}`]),
  ];
  return (
    <div class="gpu">
      <span>{gpu.name}</span>
      {gpu.encoder_percent !== null && (
        <Meter
          name={`Encoder of ${host}`}
          share={gpu.encoder_percent / 100}
          text={`Encoder ${Math.round(gpu.encoder_percent)} %`}
        />
      )}
      {gpu.decoder_percent !== null && (
        <Meter
          name={`Decoder of ${host}`}
          share={gpu.decoder_percent / 100}
          text={`Decoder ${Math.round(gpu.decoder_percent)} %`}
        />
      )}
      <span class="muted small">{figures.join(', ')}</span>
    </div>
  );
}

function Meter({ name, share, text }: { name: string; share: number; text: string }) {
  const now = Math.round(Math.min(1, Math.max(0, share)) * 100);
  return (
    <span class="meter">
      <span class="meter-text">{text}</span>
      <span class="meter-bar" role="meter" aria-label={name} aria-valuemin={0} aria-valuemax={100} aria-valuenow={now}>
        <span class="meter-fill" style={{ width: `${now}%` }} />
      </span>
    </span>
  );
}
