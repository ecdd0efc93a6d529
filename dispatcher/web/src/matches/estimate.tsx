// What a match on its way will cost, and when it can be watched.

import { useEffect, useState } from 'preact/hooks';
import { may } from '../session';
import { quoteWords } from '../text/quote';
import { estimate } from '../upload/estimate';

export function Estimate({ file }: { file: File }) {
  const [words, setWords] = useState('');
  useEffect(() => {
    let isShown = true;
    if (!may('jobs:write')) return;
    // Without an answer the upload goes on as well.
    estimate(file).then(
      (quote) => isShown && setWords(quoteWords(quote)),
      () => undefined,
    );
    return () => {
      isShown = false;
    };
  }, [file]);
  return words ? <p class="upload-estimate muted">{words}</p> : null;
}
