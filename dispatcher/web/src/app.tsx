// The frame around the pages, and which page is shown.

import { useEffect } from 'preact/hooks';
import { call } from './api/client';
import type { Me } from './api/types';
import { FleetPage } from './ops/page';
import { MatchesPage } from './matches/page';
import { route } from './router';
import { Account } from './account';
import { isOperator, key, me } from './session';
import { SignIn } from './sign-in';
import { percent } from './text/size';
import { theme } from './theme';
import { Confirmation } from './ui/confirm';
import { Heading } from './ui/heading';
import { Icon, Mark } from './ui/icons';
import { Menu } from './ui/menu';
import { Notices } from './ui/notices';
import { underWay } from './upload/transfers';
import { SharedPage } from './watch/shared';
import { WatchPage } from './watch/page';

export function App() {
  const isShared = route.value.page === 'shared';
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          // Focus alone: the fragment of the address belongs to shared links.
          event.preventDefault();
          document.getElementById('main')?.focus();
        }}
      >
        Skip to content
      </a>
      <Header />
      <main id="main" class="main" tabIndex={-1}>
        {isShared || key.value ? <CurrentPage key={isShared ? 'shared' : key.value} /> : <SignIn />}
      </main>
      <Notices />
      <Confirmation />
    </>
  );
}

function CurrentPage() {
  const at = route.value;
  switch (at.page) {
    case 'matches':
      return <MatchesPage />;
    case 'watch':
      return <WatchPage key={at.job} id={at.job} />;
    case 'shared':
      return <SharedPage key={at.token} token={at.token} />;
    case 'fleet':
      return <FleetPage />;
    case 'missing':
      return (
        <div class="empty">
          <Heading text="There is nothing here" />
          <p>The address may be old, or mistyped.</p>
          <a class="button" href="/">
            All matches
          </a>
        </div>
      );
  }
}

function Header() {
  const bearer = key.value;
  useEffect(() => {
    if (!bearer) return undefined;
    const left = new AbortController();
    const { signal } = left;
    const ask = () => {
      // A key that is refused signs out by itself; without a network the pages say so where it matters.
      call<Me>('/v1/me', { signal }).then(
        (who) => {
          if (!signal.aborted) me.value = who;
        },
        () => undefined,
      );
    };
    ask();
    addEventListener('online', ask, { signal });
    return () => left.abort();
  }, [bearer]);
  const current = (page: string) => (route.value.page === page ? { 'aria-current': 'page' as const } : {});
  return (
    <header class="header">
      <a class="brand" href="/" aria-label="Touchline, all matches">
        <Mark />
        <span>Touchline</span>
      </a>
      {bearer && (
        <nav class="nav" aria-label="Pages">
          <a href="/" {...current('matches')}>
            Matches
          </a>
          {isOperator.value && (
            <a href="/ops" {...current('fleet')}>
              Fleet
            </a>
          )}
        </nav>
      )}
      <span class="grow" />
      {route.value.page !== 'matches' && <UploadsUnderWay />}
      <ThemeMenu />
      {bearer && <Account />}
    </header>
  );
}

/** Uploads go on while other pages are looked at. */
function UploadsUnderWay() {
  const share = underWay.value;
  if (share === null) return null;
  return (
    <a class="under-way" href="/">
      Uploading {percent(share)}
    </a>
  );
}

function ThemeMenu() {
  const choice = (label: string, value: typeof theme.value) => ({
    label,
    checked: theme.value === value,
    onSelect: () => (theme.value = value),
  });
  return (
    <Menu
      label="Appearance"
      choices={[choice('As the system', 'system'), choice('Light', 'light'), choice('Dark', 'dark')]}
    >
      <Icon name={theme.value === 'dark' ? 'moon' : 'sun'} />
    </Menu>
  );
}
