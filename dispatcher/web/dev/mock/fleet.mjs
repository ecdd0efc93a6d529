// A fleet of two regions for the page of operators.

const before = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

export function fleet(world) {
  const count = (state) => world.jobs.filter((j) => j.state === state).length;
  const gpu = (encoder_percent, sessions) => ({
    name: 'NVIDIA L4',
    encoder_percent,
    decoder_percent: encoder_percent / 2,
    sessions,
    free_bytes: 14.2e9,
    total_bytes: 24e9,
  });
  const worker = (id, changes) => ({
    id,
    region: 'eu-central-1',
    pool: 'eu-l4-spot',
    host: 'ip-10-0-3-17',
    version: '0.1.0',
    backends: ['nvenc', 'x264'],
    slots: 8,
    busy: 6,
    state: 'ready',
    gpu: gpu(82, 6),
    started_at: before(5400),
    silent_s: 4,
    idle_s: null,
    ...changes,
  });
  const pool = (name, region, changes) => ({
    name,
    region,
    instance_type: 'g6.2xlarge',
    option: 'spot',
    running: 2,
    booting: 1,
    limit: 8,
    price_per_hour_usd: 0.41,
    note: null,
    ...changes,
  });
  const region = (name, changes) => ({
    name,
    healthy: true,
    reason: '',
    queued: 14,
    running: 12,
    slots: 16,
    workers: 2,
    queue: { visible: 9, in_flight: 12, dead: 0 },
    ...changes,
  });
  return {
    jobs: {
      queued: count('queued'),
      planning: count('planning'),
      running: count('running'),
      publishing: 0,
      succeeded: 31,
      failed: count('failed'),
      cancelled: 0,
    },
    backlog: { chunks: 118, media_s: 18_400, unsent_messages: 3, oldest_wait_s: 41 },
    regions: [
      region('eu-central-1'),
      region('eu-west-1', {
        healthy: false,
        reason: 'its queue does not answer since 14:02',
        queued: 0,
        running: 0,
        slots: 0,
        workers: 0,
        queue: { visible: 0, in_flight: 0, dead: 2 },
      }),
    ],
    workers: [
      worker('0192f000-0000-7000-8000-00000000a001'),
      worker('0192f000-0000-7000-8000-00000000a002', {
        host: 'ip-10-0-3-44',
        gpu: gpu(37, 3),
        busy: 3,
        state: 'draining',
      }),
      worker('0192f000-0000-7000-8000-00000000a003', {
        host: 'workstation',
        region: 'local',
        pool: '',
        backends: ['x264'],
        gpu: null,
        slots: 4,
        busy: 0,
        idle_s: 240,
      }),
    ],
    pools: [
      pool('eu-l4-spot', 'eu-central-1'),
      pool('eu-l4', 'eu-central-1', { option: 'on_demand', running: 0, booting: 0, price_per_hour_usd: 1.22 }),
      pool('ie-l4-spot', 'eu-west-1', { running: 0, booting: 0, note: 'no capacity until 14:20' }),
    ],
    decisions: [
      {
        at: before(30),
        action: 'eu-l4-spot: 2 to 3',
        reason: 'backlog of 5.1 h of video ends at 15:40, promised 15:10; spot costs a third',
      },
      { at: before(400), action: 'ie-l4-spot: none', reason: 'no capacity was answered; it is asked again at 14:20' },
      { at: before(900), action: 'eu-l4-spot: 1 to 2', reason: 'two matches arrived together' },
    ],
    costs: { today_usd: 14.2, month_usd: 311.87, waste_usd: 9.3 },
  };
}
