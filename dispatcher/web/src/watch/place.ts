// Where a person stopped watching, for the next visit.

const PLACE = 'touchline.places';
const MOST = 50;

type Places = Record<string, number>;

function read(): Places {
  try {
    const parsed: unknown = JSON.parse(localStorage.getItem(PLACE) ?? '{}');
    return typeof parsed === 'object' && parsed !== null ? (parsed as Places) : {};
  } catch {
    return {};
  }
}

export function rememberPlace(id: string, at: number, whole: number): void {
  const { [id]: _, ...others } = read();
  // Nobody wants to go on from the first seconds or the last.
  const isWorth = at > 10 && at < whole - 15;
  const kept = Object.entries(others).slice(isWorth ? 1 - MOST : -MOST);
  localStorage.setItem(PLACE, JSON.stringify(Object.fromEntries(isWorth ? [...kept, [id, Math.floor(at)]] : kept)));
}

export function recallPlace(id: string, watchable: number): number {
  const at = read()[id];
  return typeof at === 'number' && at < watchable - 1 ? at : 0;
}
