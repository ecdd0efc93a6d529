// A table that becomes a list of cards on a phone: each cell then carries the name of its column.

import type { ComponentChildren } from 'preact';

export interface Column<T> {
  name: string;
  cell: (item: T) => ComponentChildren;
  isNumber?: boolean;
}

interface Props<T> {
  caption: string;
  columns: Column<T>[];
  items: readonly T[];
  keyOf: (item: T) => string;
  empty: string;
}

export function Table<T>({ caption, columns, items, keyOf, empty }: Props<T>) {
  if (items.length === 0) return <p class="muted">{empty}</p>;
  return (
    // The roles survive the change of `display` that makes cards of rows.
    <table class="table" role="table">
      <caption class="sr-only">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column.name} role="columnheader" scope="col" class={column.isNumber ? 'number' : undefined}>
              {column.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {items.map((item) => (
          <tr key={keyOf(item)} role="row">
            {columns.map((column) => (
              <td key={column.name} role="cell" data-name={column.name} class={column.isNumber ? 'number' : undefined}>
                {column.cell(item)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
