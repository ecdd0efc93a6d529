// Which keys do what.

import { Dialog } from '../ui/dialog';
import { SHORTCUTS, areKeysOn, setKeysOn } from './keys';

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
      <label class="check">
        <input type="checkbox" checked={areKeysOn.value} onChange={(event) => setKeysOn(event.currentTarget.checked)} />
        These keys work anywhere on the page
      </label>
    </Dialog>
  );
}
