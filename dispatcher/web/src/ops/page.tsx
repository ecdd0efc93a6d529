// The fleet at a glance, for operators.

import { useEffect } from 'preact/hooks';
import type { Job } from '../api/types';
import { percent } from '../text/size';
import { say } from '../text/state';
import { ago, clock } from '../text/time';
import { Heading } from '../ui/heading';
import { atWork, fleet, fleetError, isPaused, seenAt, troubles, watchFleet } from './fleet';
import { Decisions, Numbers, Pools, Regions, Workers } from './sections';
import { type Column, Table } from './table';

export function FleetPage() {
  useEffect(watchFleet, []);
  const now = fleet.value;
  return (
    <div class="fleet">
      <div class="fleet-head">
        <Heading text="Fleet" />
        <span class="grow" />
        {seenAt.value && <span class="muted small">Seen at {seenAt.value.toLocaleTimeString()}</span>}
        <button
          type="button"
          class="button small"
          aria-pressed={isPaused.value}
          onClick={() => (isPaused.value = !isPaused.value)}
        >
          {isPaused.value ? 'Go on' : 'Hold still'}
        </button>
      </div>
      {fleetError.value && (
        <p class="banner bad" role="alert">
          {fleetError.value}
        </p>
      )}
      {!now && !fleetError.value && <p class="muted pad">Loading</p>}
      {now && (
        <>
          <Numbers fleet={now} />
          <Section title="Jobs">
            <Jobs items={atWork.value} />
          </Section>
          <Section title="Regions">
            <Regions items={now.regions} />
          </Section>
          <Section title="Workers">
            <Workers items={now.workers} />
          </Section>
          {now.pools && (
            <Section title="Pools">
              <Pools items={now.pools} />
            </Section>
          )}
          {now.decisions && (
            <Section title="Decisions">
              <Decisions items={now.decisions} />
            </Section>
          )}
          <Section title="Failed jobs">
            <Troubles items={troubles.value} />
          </Section>
        </>
      )}
    </div>
  );
}

function Section({ title, children }: { title: string; children: preact.ComponentChildren }) {
  const id = `section-${title.toLowerCase().replaceAll(' ', '-')}`;
  return (
    <section class="panel" aria-labelledby={id}>
      <h2 id={id} class="panel-title">
        {title}
      </h2>
      {children}
    </section>
  );
}

function Jobs({ items }: { items: Job[] }) {
  const columns: Column<Job>[] = [
    { name: 'Job', cell: (j) => <a href={`/jobs/${j.id}`}>{j.title}</a> },
    {
      name: 'State',
      cell: (j) => <span class={`state ${j.state === 'queued' ? 'warn' : 'good'}`}>{say(j).short}</span>,
    },
    { name: 'Encoded', isNumber: true, cell: (j) => percent(j.progress) },
    { name: 'Watchable', isNumber: true, cell: (j) => clock(j.watchable_ms / 1000) },
    { name: 'Organisation', cell: (j) => <span class="mono small">{j.organisation_id.slice(0, 8)}</span> },
    { name: 'Region', cell: (j) => j.home_region },
    { name: 'Came', cell: (j) => ago(j.created_at) },
  ];
  return (
    <Table
      caption="Jobs that are open, the newest first"
      columns={columns}
      items={items}
      keyOf={(j) => j.id}
      empty="None."
    />
  );
}

function Troubles({ items }: { items: Job[] }) {
  const columns: Column<Job>[] = [
    { name: 'Job', cell: (j) => <a href={`/jobs/${j.id}`}>{j.title}</a> },
    { name: 'Code', cell: (j) => <span class="mono">{j.failure?.code ?? ''}</span> },
    { name: 'Detail', cell: (j) => j.failure?.detail ?? j.failure?.message ?? '' },
    { name: 'Organisation', cell: (j) => <span class="mono small">{j.organisation_id.slice(0, 8)}</span> },
    { name: 'When', cell: (j) => ago(j.finished_at ?? j.created_at) },
  ];
  return <Table caption="Jobs that failed" columns={columns} items={items} keyOf={(j) => j.id} empty="None." />;
}
