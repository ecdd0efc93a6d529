// A button with a menu (WAI-ARIA menu button pattern): arrows, Home, End, Escape, and closing by leaving.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Icon } from './icons';

export interface Choice {
  label: string;
  note?: string;
  /** Given for one of several, where the chosen one is marked. */
  checked?: boolean;
  isDanger?: boolean;
  onSelect: () => void;
}

interface Props {
  label: string;
  children: ComponentChildren;
  choices: Choice[];
  class?: string;
  /** Opens upwards, for controls at the bottom. */
  up?: boolean;
}

export function Menu({ label, children, choices, class: className = 'icon-button', up }: Props) {
  const [isOpen, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const items = () => [...(root.current?.querySelectorAll<HTMLElement>('[role^="menuitem"]') ?? [])];

  useEffect(() => {
    if (!isOpen) return undefined;
    (items().find((i) => i.getAttribute('aria-checked') === 'true') ?? items()[0])?.focus();
    const leave = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', leave);
    document.addEventListener('focusin', leave);
    return () => {
      document.removeEventListener('pointerdown', leave);
      document.removeEventListener('focusin', leave);
    };
  }, [isOpen]);

  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!isOpen) {
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        event.preventDefault();
        event.stopPropagation();
        setOpen(true);
      }
      return;
    }
    const all = items();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) all[to % all.length]?.focus();
    else if (event.key === 'Escape') close();
    else if (event.key === 'Tab') setOpen(false);
    if (event.key !== 'Tab') event.stopPropagation();
    if (to !== undefined || event.key === 'Escape') event.preventDefault();
  };

  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <button
        ref={button}
        type="button"
        class={className}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-label={label}
        title={label}
        onClick={() => setOpen(!isOpen)}
      >
        {children}
      </button>
      {isOpen && (
        <ul class={up ? 'menu-list up' : 'menu-list'} role="menu" aria-label={label}>
          {choices.map((choice) => (
            <li key={choice.label} role="none">
              <button
                type="button"
                role={choice.checked === undefined ? 'menuitem' : 'menuitemradio'}
                {...(choice.checked === undefined ? {} : { 'aria-checked': choice.checked })}
                class={choice.isDanger ? 'menu-item danger' : 'menu-item'}
                tabIndex={-1}
                onClick={() => {
                  close();
                  choice.onSelect();
                }}
              >
                <span class="menu-check">{choice.checked && <Icon name="check" />}</span>
                <span>{choice.label}</span>
                {choice.note && <span class="menu-note">{choice.note}</span>}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
