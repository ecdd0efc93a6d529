// Buttons below the picture.

import { Icon, type IconName } from '../ui/icons';
import { type Choice, Menu } from '../ui/menu';
import { type Player, SPEEDS } from './player';
import { Times } from './times';

interface Props {
  player: Player;
  isFullscreen: boolean;
  onFullscreen: () => void;
  /** Null where nothing can be asked for. */
  onBeyond: ((at: number) => void) | null;
  onHelp: () => void;
}

function Button({
  name,
  label,
  onClick,
  class: className = '',
}: {
  name: IconName;
  label: string;
  onClick: () => void;
  class?: string;
}) {
  return (
    <button type="button" class={`icon-button ${className}`} aria-label={label} title={label} onClick={onClick}>
      <Icon name={name} />
    </button>
  );
}

export function Controls({ player, isFullscreen, onFullscreen, onBeyond, onHelp }: Props) {
  const isPaused = player.isPaused.value;
  const isMuted = player.isMuted.value || player.volume.value === 0;
  return (
    <div class="controls" role="group" aria-label="Playback">
      <Button
        name={isPaused ? 'play' : 'pause'}
        label={isPaused ? 'Play (K)' : 'Pause (K)'}
        onClick={() => player.toggle()}
        class="big"
      />
      <Button name="back10" label="Back 10 seconds (J)" onClick={() => player.skip(-10)} />
      <Button name="forward10" label="On 10 seconds (L)" onClick={() => player.skip(10)} />
      <span class="controls-gap" />
      <Button name="frameBack" label="Back one frame (,)" onClick={() => player.step(-1)} />
      <Button name="frameNext" label="On one frame (.)" onClick={() => player.step(1)} />
      <Times player={player} onBeyond={onBeyond} />
      <span class="grow" />
      <Button
        name={isMuted ? 'muted' : 'sound'}
        label={isMuted ? 'Sound on (M)' : 'Sound off (M)'}
        onClick={() => player.setMuted(!player.isMuted.value)}
      />
      <input
        class="volume"
        type="range"
        min="0"
        max="1"
        step="0.05"
        aria-label="Volume"
        value={isMuted ? 0 : player.volume.value}
        onInput={(event) => player.setVolume(Number(event.currentTarget.value))}
      />
      <Speed player={player} />
      <Quality player={player} />
      <span class="controls-break" />
      <Button name="help" label="Keyboard help (?)" onClick={onHelp} class="wide-only" />
      <Button
        name={isFullscreen ? 'window' : 'fullscreen'}
        label={isFullscreen ? 'Leave full screen (F)' : 'Full screen (F)'}
        onClick={onFullscreen}
      />
    </div>
  );
}

function Speed({ player }: { player: Player }) {
  const rate = player.rate.value;
  const choices: Choice[] = SPEEDS.map((speed) => ({
    label: speed === 1 ? 'Normal' : `${speed}×`,
    checked: Math.abs(speed - rate) < 0.01,
    onSelect: () => player.setRate(speed),
  }));
  return (
    <Menu label={`Speed: ${rate}×`} choices={choices} class="text-button" up>
      {rate}×
    </Menu>
  );
}

function Quality({ player }: { player: Player }) {
  const levels = player.levels.value;
  if (levels.length === 0) return null;
  const chosen = player.chosenLevel.value;
  const shown = levels.find((l) => l.index === player.level.value);
  const name = (height: number) => `${height}p`;
  const choices: Choice[] = [
    {
      label: 'Automatic',
      checked: chosen < 0,
      ...(shown && chosen < 0 ? { note: name(shown.height) } : {}),
      onSelect: () => player.setLevel(-1),
    },
    ...levels
      .toSorted((a, b) => b.bits_per_second - a.bits_per_second)
      .map((level) => ({
        label: name(level.height),
        note: `${(level.bits_per_second / 1e6).toFixed(1)} Mbit/s`,
        checked: chosen === level.index,
        onSelect: () => player.setLevel(level.index),
      })),
  ];
  const label = chosen < 0 ? 'Auto' : name(levels.find((l) => l.index === chosen)?.height ?? 0);
  return (
    <Menu label={`Quality: ${label}`} choices={choices} class="text-button" up>
      {label}
    </Menu>
  );
}
