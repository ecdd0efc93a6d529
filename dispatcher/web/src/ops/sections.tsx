// The parts of the page of operators, one a table.

import type { Fleet, Gpu, Pool, Region, Worker } from '../api/types';
import { bytes, usd } from '../text/size';
import { ago, clock } from '../text/time';
import { drain, redrive } from './fleet';
import { type Column, Table } from './table';

interface Figure {
  name: string;
  value: string;
  isBad?: boolean;
}

export function Numbers({ fleet }: { fleet: Fleet }) {
  const { jobs, backlog, costs } = fleet;
  const work: Figure[] = [
    { name: 'Waiting', value: String(jobs.queued + jobs.planning) },
    { name: 'At work', value: String(jobs.running + jobs.publishing) },
    { name: 'Done, 24 h', value: String(jobs.succeeded) },
    { name: 'Failed, 24 h', value: String(jobs.failed), isBad: jobs.failed > 0 },
    { name: 'Longest wait', value: clock(backlog.oldest_wait_s) },
    { name: 'Video to encode', value: clock(backlog.media_s) },
    { name: 'Chunks to encode', value: String(backlog.chunks) },
    { name: 'Unsent messages', value: String(backlog.unsent_messages), isBad: backlog.unsent_messages > 100 },
  ];
  const money: Figure[] = costs
    ? [
        { name: 'Cost today', value: usd(costs.today_usd) },
        { name: 'Cost this month', value: usd(costs.month_usd) },
        { name: 'Wasted this month', value: usd(costs.waste_usd) },
      ]
    : [];
  return (
    <div class="figures">
      {[work, money].map((figures) => figures.length > 0 && <Figures key={figures[0]?.name} figures={figures} />)}
    </div>
  );
}

function Figures({ figures }: { figures: Figure[] }) {
  return (
    <dl class="tiles">
      {figures.map((figure) => (
        <div key={figure.name} class={figure.isBad ? 'tile tone-bad' : 'tile'}>
          <dt>{figure.name}</dt>
          <dd>{figure.value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Regions({ items }: { items: Region[] }) {
  const columns: Column<Region>[] = [
    { name: 'Region', cell: (r) => <strong>{r.name}</strong> },
    {
      name: 'State',
      cell: (r) =>
        r.healthy ? (
          <span class="state good">Healthy</span>
        ) : (
          <span class="state bad">{r.reason || 'Does not answer'}</span>
        ),
    },
    { name: 'Workers', isNumber: true, cell: (r) => r.workers },
    { name: 'Slots', isNumber: true, cell: (r) => `${r.running} of ${r.slots}` },
    { name: 'Queued', isNumber: true, cell: (r) => r.queued },
  ];
  if (items.some((r) => r.queue)) {
    columns.push(
      { name: 'Visible', isNumber: true, cell: (r) => r.queue?.visible },
      { name: 'In flight', isNumber: true, cell: (r) => r.queue?.in_flight },
      {
        name: 'Dead',
        isNumber: true,
        cell: (r) => ((r.queue?.dead ?? 0) > 0 ? <strong class="bad-text">{r.queue?.dead}</strong> : r.queue?.dead),
      },
    );
  }
  const hasDead = items.some((r) => (r.queue?.dead ?? 0) > 0);
  return (
    <>
      <Table
        caption="Regions and their queues"
        columns={columns}
        items={items}
        keyOf={(r) => r.name}
        empty="No region is configured."
      />
      {hasDead && (
        <button type="button" class="button" onClick={() => void redrive()}>
          Queue dead messages again
        </button>
      )}
    </>
  );
}

export function Pools({ items }: { items: Pool[] }) {
  const columns: Column<Pool>[] = [
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
  ];
  return (
    <Table
      caption="Pools of capacity"
      columns={columns}
      items={items}
      keyOf={(p) => `${p.region}/${p.name}`}
      empty="No pools: workers on this machine start when there is work."
    />
  );
}

export function Workers({ items }: { items: Worker[] }) {
  const columns: Column<Worker>[] = [
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
          name={`Slots of ${w.host}`}
          share={w.slots > 0 ? w.busy / w.slots : 0}
          text={`${w.busy} of ${w.slots}`}
        />
      ),
    },
    { name: 'Encodes with', cell: (w) => w.backends.join(', ') },
    { name: 'GPU', cell: (w) => <GpuFigures gpu={w.gpu} host={w.host} /> },
    { name: 'Heard', cell: (w) => (w.silent_s < 2 ? 'just now' : `${Math.round(w.silent_s)} s ago`) },
    {
      name: '',
      cell: (w) =>
        w.state === 'ready' && (
          <button type="button" class="button small" aria-label={`Drain ${w.host}`} onClick={() => void drain(w.id)}>
            Drain
          </button>
        ),
    },
  ];
  return (
    <Table
      caption="Workers"
      columns={columns}
      items={items}
      keyOf={(w) => w.id}
      empty="No worker runs: there is no work."
    />
  );
}

function stateOf(worker: Worker): string {
  if (worker.state === 'draining') return 'Draining';
  if (worker.state === 'gone') return 'Gone';
  return worker.idle_s === null ? 'Ready' : `Idle for ${clock(worker.idle_s)}`;
}

function GpuFigures({ gpu, host }: { gpu: Gpu | null; host: string }) {
  if (!gpu) return <span class="muted">None</span>;
  const used = gpu.total_bytes !== null && gpu.free_bytes !== null ? gpu.total_bytes - gpu.free_bytes : null;
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
      <span class="muted small">
        {gpu.sessions !== null && `${gpu.sessions} sessions`}
        {used !== null && gpu.total_bytes !== null && `, ${bytes(used)} of ${bytes(gpu.total_bytes)}`}
      </span>
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

export function Decisions({ items }: { items: NonNullable<Fleet['decisions']> }) {
  if (items.length === 0) return <p class="muted">No decision yet.</p>;
  return (
    // It scrolls, so a keyboard must reach it.
    <ol class="decisions" tabIndex={0} aria-label="Decisions">
      {items.map((d) => (
        <li key={`${d.at}${d.action}`}>
          <time class="muted small" dateTime={d.at}>
            {ago(d.at)}
          </time>
          <strong>{d.action}</strong>
          <span>{d.reason}</span>
        </li>
      ))}
    </ol>
  );
}
