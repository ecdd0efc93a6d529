// Who is signed in, and how much of what they may use is used.

import { useState } from 'preact/hooks';
import type { Me } from './api/types';
import { me, signOut } from './session';
import { bytes, percent, usd } from './text/size';
import { Dialog } from './ui/dialog';
import { Menu } from './ui/menu';

export function Account() {
  const [isOpen, setOpen] = useState(false);
  const who = me.value;
  const name = who?.organisation.name ?? 'Account';
  return (
    <>
      <Menu
        label={`Account: ${name}`}
        class="account"
        choices={[
          ...(who ? [{ label: 'Usage', onSelect: () => setOpen(true) }] : []),
          { label: 'Sign out', onSelect: () => signOut() },
        ]}
      >
        <span class="account-name">{name}</span>
      </Menu>
      {isOpen && who && <Usage who={who} onClose={() => setOpen(false)} />}
    </>
  );
}

function Usage({ who, onClose }: { who: Me; onClose: () => void }) {
  const { usage, limits } = who;
  const minutes = (n: number) => `${Math.round(n)} min`;
  return (
    <Dialog title={who.organisation.name} onClose={onClose}>
      <dl class="usage">
        <Share name="Video this month" used={usage.minutes_this_month} most={limits.minutes_a_month} text={minutes} />
        <Share name="Storage" used={usage.storage_bytes} most={limits.storage_bytes} text={bytes} />
        <Share name="Matches at work" used={usage.active_jobs} most={limits.concurrent_jobs} text={String} />
        {(usage.cost_this_month_micros > 0 || who.organisation.monthly_cap_micros !== null) && (
          <Share
            name="Cost this month"
            used={usage.cost_this_month_micros / 1e6}
            most={who.organisation.monthly_cap_micros === null ? null : who.organisation.monthly_cap_micros / 1e6}
            text={usd}
          />
        )}
        {limits.largest_file_bytes !== null && (
          <div>
            <dt>Largest file</dt>
            <dd>{bytes(limits.largest_file_bytes)}</dd>
          </div>
        )}
      </dl>
    </Dialog>
  );
}

interface ShareProps {
  name: string;
  used: number;
  /** Null: no limit. */
  most: number | null;
  text: (n: number) => string;
}

function Share({ name, used, most, text }: ShareProps) {
  const share = most ? Math.min(1, used / most) : 0;
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {most === null ? text(used) : `${text(used)} of ${text(most)}`}
        {most !== null && (
          <span
            class="meter-bar"
            role="meter"
            aria-label={name}
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={Math.round(share * 100)}
            aria-valuetext={percent(share)}
          >
            <span class="meter-fill" style={{ width: `${share * 100}%` }} />
          </span>
        )}
      </dd>
    </div>
  );
}
