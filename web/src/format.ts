// Numbers as people read them. Sizes are binary, as everywhere in Loadline.

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    ++unit;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toPrecision(3)} ${units[unit]}`;
}

export function rate(perSecond: number): string {
  if (!(perSecond > 0)) return '-';
  return perSecond >= 100 ? Math.round(perSecond).toLocaleString('en') : perSecond.toPrecision(3);
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en');
}

export const tokens = (many: number) => `${count(many)} ${many === 1 ? 'token' : 'tokens'}`;

export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toPrecision(2)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// "8GiB", "500 MiB", "12GB", "1048576": bytes; NaN where it is no size.
export function parseBytes(text: string): number {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$/i.exec(text);
  if (!found) return NaN;
  const power = ' kmgt'.indexOf((found[2] || ' ').toLowerCase());
  return Math.round(Number(found[1]) * (found[3] ? 1024 : 1000) ** power);
}
