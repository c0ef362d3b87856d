// What the model sees of a conversation with the draft: its tokens, those that are in the cache, and what is left.
import { useSignal, useSignalEffect } from '@preact/signals';
import { count, duration } from './format';
import { isBusy, look, Seen } from './generate';
import { context, modelName } from './live';
import { Pane } from './store';
import { Shown, Tokens } from './tokens';

const kMostSeen = 4000; // tokens of a prompt that are drawn

// What the server says of the conversation with the draft, a moment after they last changed.
function useSeen(pane: Pane, pieces: boolean): Seen | null {
  const seen = useSignal<Seen | null>(null);
  useSignalEffect(() => {
    const conversation = pane.chat.value;
    const text = pane.draft.value;
    if (!modelName.value || isBusy(conversation)) return;
    const stop = new AbortController();
    const timer = window.setTimeout(async () => {
      try {
        seen.value = await look(conversation, text, pieces, stop.signal);
      } catch {
        // the next key asks again
      }
    }, 250);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  return seen.value;
}

// Tokens of the conversation with the draft, and what of the context is left.
export function Left({ pane }: { pane: Pane }) {
  const seen = useSeen(pane, false);
  const all = context.value;
  if (!all || !seen) return <span class="stats">&nbsp;</span>;
  return (
    <span class={`stats ${seen.left < all / 10 ? 'low' : ''}`}>
      {count(seen.tokens)} tokens so far, {count(seen.cached)} cached · {count(seen.left)} of {count(all)} left
      {seen.seconds !== null ? ` · ${seen.seconds < 0.01 ? 'under 10 ms' : seen.seconds < 1 ? `${Math.round(seen.seconds * 1000)} ms` : duration(seen.seconds)} to the first token` : ''}
      <meter min={0} max={all} value={Math.min(seen.tokens, all)} aria-label="Context used" />
    </span>
  );
}

// The conversation as the model sees it.
export function SeenTokens({ pane }: { pane: Pane }) {
  const seen = useSeen(pane, true);
  const pieces = seen?.pieces ?? [];
  const from = Math.max(0, pieces.length - kMostSeen);
  const list: Shown[] = pieces.slice(from).map((one, i) => {
    const isCached = from + i < (seen?.cached ?? 0);
    return { piece: one.piece, kind: `${i % 2 ? 'odd' : ''} ${isCached ? 'cached' : ''}`, about: `token ${one.id}, number ${count(from + i + 1)}${isCached ? ', in the cache' : ''}` };
  });
  return (
    <section class="settings" aria-label="What the model sees">
      <p class="stats">
        {count(pieces.length)} tokens, with those of the template; underlined ones are in the cache and need not be read again
        {from > 0 ? `. The last ${count(kMostSeen)} are shown` : ''}
      </p>
      <Tokens list={list} label="Tokens that the model sees" />
    </section>
  );
}
