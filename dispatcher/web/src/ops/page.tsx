// The fleet at a glance, for operators.

import { useEffect } from 'preact/hooks';
import { Heading } from '../ui/heading';
import { atWork, fleet, fleetError, isPaused, seenAt, troubles, watchFleet } from './fleet';
import { failedJobs, openJobs } from './jobs';
import { Decisions, Numbers, Regions } from './sections';
import { pools, workers } from './machines';
import { Table } from './table';

export function FleetPage() {
  useEffect(watchFleet, []);
  const now = fleet.value;
  return (
    <div class="fleet">
      <div class="fleet-head">
        <Heading text="Fleet" />
        <span class="grow" />
        {seenAt.value && <span class="muted small">Seen at {seenAt.value.toLocaleTimeString()}</span>}
        <button type="button" class="button small" onClick={() => (isPaused.value = !isPaused.value)}>
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
            <Table sheet={openJobs} items={atWork.value} />
          </Section>
          <Section title="Regions">
            <Regions items={now.regions} />
          </Section>
          <Section title="Workers">
            <Table sheet={workers} items={now.workers} />
          </Section>
          {now.pools && (
            <Section title="Pools">
              <Table sheet={pools} items={now.pools} />
            </Section>
          )}
          {now.decisions && (
            <Section title="Decisions">
              <Decisions items={now.decisions} />
            </Section>
          )}
          <Section title="Failed jobs">
            <Table sheet={failedJobs} items={troubles.value} />
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
