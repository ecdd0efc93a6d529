// Which keys do what.

import { Dialog } from '../ui/dialog';
import { SHORTCUTS } from './keys';

export function Help({ canClip, onClose }: { canClip: boolean; onClose: () => void }) {
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <dl class="shortcuts">
        {SHORTCUTS.filter((s) => canClip || !s.isForClips).map((s) => (
          <div key={s.shown}>
            <dt>
              <kbd>{s.shown}</kbd>
            </dt>
            <dd>{s.text}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
