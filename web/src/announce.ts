// What is read out by screen readers; what nothing else on the page shows is seen for a moment too.
import { signal } from '@preact/signals';

export const said = signal('');
export const seen = signal(false);
let timer = 0;

export function announce(text: string, toSee = false): void {
  said.value = text;
  seen.value = toSee;
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    said.value = '';
    seen.value = false;
  }, 4000);
}
