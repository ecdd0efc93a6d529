// Plays one clip, with all that the player can do.

import { useEffect, useMemo } from 'preact/hooks';
import type { Clip, FrameRate } from '../api/types';
import { Dialog } from '../ui/dialog';
import { Player } from './player';
import { Stage } from './stage';

interface ClipSource {
  title: string;
  url: string;
  offset_s: number;
  length_s: number;
}

interface Props {
  clip: Clip;
  frameRate: FrameRate | null;
  onOpen: () => void;
  onClose: () => void;
}

export function ClipDialog({ clip, frameRate, onOpen, onClose }: Props) {
  useEffect(onOpen, []);
  return (
    <Dialog title={clip.title} onClose={onClose} wide>
      <ClipStage clip={clip} frameRate={frameRate} isPlaying />
    </Dialog>
  );
}

/** The clip from its exact start to its exact end: its playlist is made of whole segments and holds a little more. */
export function ClipStage({
  clip,
  frameRate,
  isPlaying,
}: {
  clip: ClipSource;
  frameRate: FrameRate | null;
  isPlaying?: boolean;
}) {
  const player = useMemo(() => new Player(), []);
  useEffect(() => {
    player.open({
      url: clip.url,
      duration_s: clip.length_s,
      watchable_s: clip.length_s,
      isComplete: true,
      frameRate,
      origin_s: clip.offset_s,
    });
    if (isPlaying) player.play();
  }, [clip.url]);
  return (
    <Stage
      player={player}
      title={clip.title}
      poster={null}
      thumbnails={[]}
      points={{ start: null, end: null }}
      clips={[]}
      onPoint={null}
      onBeyond={null}
    />
  );
}
