// The parts of the page of operators.

import type { Fleet, Region } from '../api/types';
import { usd } from '../text/size';
import { ago, clock } from '../text/time';
import { redrive } from './fleet';
import { type Column, type Sheet, Table } from './table';

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

const REGION: Column<Region>[] = [
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
  { name: 'Slots', isNumber: true, cell: (r) => r.slots },
  { name: 'At work', isNumber: true, cell: (r) => r.running },
  { name: 'Queued', isNumber: true, cell: (r) => r.queued },
];

/** What SQS tells of a region's queue. */
const QUEUE: Column<Region>[] = [
  { name: 'Visible', isNumber: true, cell: (r) => r.queue?.visible },
  { name: 'In flight', isNumber: true, cell: (r) => r.queue?.in_flight },
  {
    name: 'Dead',
    isNumber: true,
    cell: (r) => ((r.queue?.dead ?? 0) > 0 ? <strong class="bad-text">{r.queue?.dead}</strong> : r.queue?.dead),
  },
];

export function Regions({ items }: { items: Region[] }) {
  const sheet: Sheet<Region> = {
    caption: 'Regions and their queues',
    columns: items.some((r) => r.queue) ? [...REGION, ...QUEUE] : REGION,
    keyOf: (r) => r.name,
    empty: 'No region is configured.',
  };
  const hasDead = items.some((r) => (r.queue?.dead ?? 0) > 0);
  return (
    <>
      <Table sheet={sheet} items={items} />
      {hasDead && (
        <button type="button" class="button" onClick={() => void redrive()}>
          Queue dead messages again
        </button>
      )}
    </>
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
