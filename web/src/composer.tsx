// Where one writes.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { ask, isBusy, stopAll } from './generate';
import { connection, modelName } from './live';
import { Left } from './seen';
import { Pane } from './store';

export function Composer({ pane }: { pane: Pane }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const busy = isBusy(pane.chat.value);
  const draft = pane.draft;
  const submit = () => {
    const text = draft.value;
    if (!text.trim() || busy || !modelName.value) return;
    draft.value = '';
    ask(pane, text);
    area.current?.focus();
  };
  useLayoutEffect(() => {
    const box = area.current;
    if (!box) return;
    box.style.height = 'auto';
    box.style.height = `${Math.min(box.scrollHeight + 2, window.innerHeight * 0.4)}px`;
  }, [draft.value]);
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <div class="row">
        <textarea
          ref={area}
          rows={1}
          value={draft}
          aria-label="Message"
          placeholder={connection.value === 'lost' ? 'The server is away; it is looked for …' : 'Write a message'}
          onInput={(event) => (draft.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              submit();
            }
            if (event.key === 'Escape' && busy) stopAll(pane.chat.value);
          }}
        />
        {busy ? (
          <button type="button" class="stop" onClick={() => stopAll(pane.chat.value)}>
            Stop
          </button>
        ) : (
          <button type="submit" class="main" disabled={!draft.value.trim() || !modelName.value}>
            Send
          </button>
        )}
      </div>
      <div class="row hints">
        <Left pane={pane} />
        <span class="stats keys">Enter sends · Shift+Enter: new line · Esc stops</span>
      </div>
    </form>
  );
}
