// A table that becomes a list of cards on a phone: each cell then carries the name of its column.

import type { ComponentChildren } from 'preact';

export interface Column<T> {
  name: string;
  cell: (item: T) => ComponentChildren;
  isNumber?: boolean;
  /** The name is for screen readers: what is in it says enough to everybody else. */
  isNameHidden?: boolean;
}

/** What a table shows of its items. */
export interface Sheet<T> {
  caption: string;
  columns: Column<T>[];
  keyOf: (item: T) => string;
  /** Said when there are no items. */
  empty: string;
}

export function Table<T>({ sheet, items }: { sheet: Sheet<T>; items: readonly T[] }) {
  const { caption, columns, keyOf, empty } = sheet;
  if (items.length === 0) return <p class="muted">{empty}</p>;
  return (
    // The roles survive the change of `display` that makes cards of rows.
    <table class="table" role="table">
      <caption class="sr-only">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column.name} role="columnheader" scope="col" class={column.isNumber ? 'number' : undefined}>
              <span class={column.isNameHidden ? 'sr-only' : undefined}>{column.name}</span>
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {items.map((item) => (
          <tr key={keyOf(item)} role="row">
            {columns.map((column, place) => (
              <td
                key={column.name}
                role={place === 0 ? 'rowheader' : 'cell'}
                data-name={column.isNameHidden ? '' : column.name}
                class={column.isNumber ? 'number' : undefined}
              >
                {column.cell(item)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
