// Text as the tokens that it is made of: what each is, and how likely it was, is told for the one that is pointed at, or
// that the arrow keys went to.
import { useSignal } from '@preact/signals';
import { Drawn } from './generate';

export interface Shown {
  piece: string | number[]; // bytes, where it is part of a character
  about: string;
  kind: string; // a class
}

export const written = (piece: string | number[]) =>
  typeof piece === 'string' ? piece : piece.map((b) => `<${b.toString(16).padStart(2, '0')}>`).join('');

const percent = (chance: number) => (chance >= 0.0995 ? `${Math.round(100 * chance)} %` : `${(100 * chance).toPrecision(2)} %`);
const quoted = (piece: string) => `“${piece.replaceAll('\n', '⏎')}”`;

export function shownOf(one: Drawn): Shown {
  const others = one.others.map((other) => `${quoted(other.piece)} ${percent(other.chance)}`).join(', ');
  const kind = one.chance >= 0.9 ? 'sure' : one.chance >= 0.5 ? 'likely' : one.chance >= 0.1 ? 'open' : 'rare';
  return { piece: one.piece, about: `${quoted(one.piece)} ${percent(one.chance)}${others ? ` · of ${others}` : ''}`, kind };
}

export function Tokens({ list, label }: { list: Shown[]; label: string }) {
  const at = useSignal(-1);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    at.value = Math.max(0, Math.min(list.length - 1, at.value + step));
    (event.currentTarget as HTMLElement).children[at.value]?.scrollIntoView({ block: 'nearest' });
  };
  const told = list[at.value];
  return (
    <>
      <p
        class="tokens"
        role="group"
        tabIndex={0}
        aria-label={`${label}; arrow keys go through them`}
        onKeyDown={move}
        onMouseOver={(event) => {
          const place = (event.target as HTMLElement).dataset.at;
          if (place !== undefined) at.value = Number(place);
        }}
      >
        {list.map((token, i) => (
          <span key={i} data-at={i} class={`${token.kind} ${i === at.value ? 'here' : ''}`}>
            {written(token.piece)}
          </span>
        ))}
      </p>
      <p class="told stats" aria-live="polite">
        {told ? told.about : 'Point at a token, or go to it with the arrow keys.'}
      </p>
    </>
  );
}
