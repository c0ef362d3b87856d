// One message of a conversation: what it says, while it comes and after, and what can be done with it.
import { useSignal } from '@preact/signals';
import { memo } from 'preact/compat';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { copyText } from './copy';
import { count, rate, tokens } from './format';
import { answer, ask, drawn, goOn, running, wantsChances } from './generate';
import { Markdown } from './markdown';
import { deepest, Message, Pane, save, siblings } from './store';
import { shownOf, Tokens } from './tokens';

function Footer({ message }: { message: Message }) {
  const { stats, end, error } = message;
  const parts: string[] = [];
  if (stats && stats.tokens > 0) parts.push(`${tokens(stats.tokens)}, ${rate(stats.rate)} tok/s`);
  if (stats && stats.promptRate > 0) {
    const kept = stats.cachedTokens > 0 ? `, ${count(stats.cachedTokens)} kept` : '';
    parts.push(`prompt ${tokens(stats.promptTokens)}, ${rate(stats.promptRate)} tok/s${kept}`);
  }
  if (end === 'stopped') parts.push('stopped');
  if (end === 'length') parts.push('cut at the length allowed');
  return (
    <>
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {parts.length > 0 && <p class="stats">{parts.join(' · ')}</p>}
    </>
  );
}

function Reasoning({ text, going }: { text: string; going: boolean }) {
  return (
    <details class="reasoning">
      <summary>{going ? 'Thinking …' : `Thought, ${count(text.length)} characters`}</summary>
      <p class="plain">{text}</p>
    </details>
  );
}

// As Markdown, or, where they were asked for, as the tokens that were drawn.
function AnswerText({ message, text }: { message: Message; text: string }) {
  const list = wantsChances.value ? drawn.value[message.id] : undefined;
  return list && list.length > 0 ? <Tokens list={list.map(shownOf)} label="Tokens of the answer" /> : <Markdown text={text} />;
}

// `settle` is called after each drawing, with which the layout is done.
function Streaming({ message, settle }: { message: Message; settle: () => void }) {
  const live = running.value[message.id]?.live.value;
  useLayoutEffect(settle);
  if (!live) return null;
  const reading = !live.text && !live.reasoning;
  return (
    <>
      {live.reasoning && <Reasoning text={live.reasoning} going={!live.text} />}
      {live.text && <AnswerText message={message} text={live.text} />}
      {reading && (
        <p class="stats">
          {live.prompt > 0 ? `Reading the prompt: ${count(live.read)} of ${count(live.prompt)} tokens` : 'Waiting for the server …'}
          {live.prompt > 0 && <progress max={live.prompt} value={live.read} aria-label="Prompt read" />}
        </p>
      )}
      {!reading && (
        <p class="stats">
          Answering{live.tokens > 0 ? ` · ${count(live.tokens)} tokens` : ''}
          {live.rate > 0 ? ` · ${rate(live.rate)} tok/s` : ''}
        </p>
      )}
    </>
  );
}

function Editor({ pane, message, done }: { pane: Pane; message: Message; done: () => void }) {
  const text = useSignal(message.text);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current?.focus(), []);
  const apply = () => {
    done();
    if (message.role === 'user') {
      ask(pane, text.value, message);
    } else {
      const conversation = pane.chat.value;
      save({ ...conversation, messages: { ...conversation.messages, [message.id]: { ...message, text: text.value } } });
    }
  };
  return (
    <form
      class="edit"
      onSubmit={(event) => {
        event.preventDefault();
        apply();
      }}
      onKeyDown={(event) => event.key === 'Escape' && done()}
    >
      <textarea ref={area} aria-label="Edit the message" rows={4} value={text} onInput={(e) => (text.value = e.currentTarget.value)} />
      <button type="submit">{message.role === 'user' ? 'Send as a new branch' : 'Keep'}</button>
      <button type="button" class="quiet" onClick={done}>
        Cancel
      </button>
    </form>
  );
}

interface OneProps {
  pane: Pane;
  name: string;
  message: Message;
  place: number;
  of: number;
  live: boolean;
  last: boolean;
  goesOn: boolean; // messages follow it on a branch that is not shown
  settle: () => void;
}

export const One = memo(
  ({ pane, name, message, place, of, live, last, goesOn, settle }: OneProps) => {
    const editing = useSignal(false);
    const isUser = message.role === 'user';
    const turn = (by: number) => {
      const conversation = pane.chat.value;
      const other = siblings(conversation, message)[place + by];
      if (other) save({ ...conversation, leaf: deepest(conversation, other.id) });
    };
    const end = (leaf: string) => save({ ...pane.chat.value, leaf });
    return (
      <article class={`message ${message.role}`} aria-label={isUser ? 'You' : 'Answer'}>
        <h3>{isUser ? 'You' : name || 'Answer'}</h3>
        {editing.value ? (
          <Editor pane={pane} message={message} done={() => (editing.value = false)} />
        ) : live ? (
          <Streaming message={message} settle={settle} />
        ) : (
          <>
            {message.reasoning && <Reasoning text={message.reasoning} going={false} />}
            {isUser ? <p class="plain">{message.text}</p> : <AnswerText message={message} text={message.text} />}
            {message.calls?.map((call, i) => (
              <details class="call" key={i} open>
                <summary>calls {call.name}</summary>
                <pre tabIndex={0}>{call.arguments}</pre>
              </details>
            ))}
            <Footer message={message} />
          </>
        )}
        {!live && !editing.value && (
          <div class="actions">
            {of > 1 && (
              <span class="turn">
                <button type="button" class="quiet" aria-label="The branch before" disabled={place === 0} onClick={() => turn(-1)}>
                  ‹
                </button>
                {place + 1}/{of}
                <button type="button" class="quiet" aria-label="The next branch" disabled={place + 1 === of} onClick={() => turn(1)}>
                  ›
                </button>
              </span>
            )}
            <button type="button" class="quiet" onClick={(e) => copyText(message.text, e.currentTarget)}>
              Copy
            </button>
            <button type="button" class="quiet" onClick={() => (editing.value = true)}>
              Edit
            </button>
            {!isUser && (
              <button type="button" class="quiet" onClick={() => answer(pane, message.parent)}>
                Retry
              </button>
            )}
            {!isUser && last && message.text && (
              <button type="button" class="quiet" onClick={() => goOn(pane, message)}>
                Continue
              </button>
            )}
            {!isUser && !last && (
              <button type="button" class="quiet" title="What is written next goes on from here, beside what followed" onClick={() => end(message.id)}>
                Branch here
              </button>
            )}
            {last && goesOn && (
              <button type="button" class="quiet" onClick={() => end(deepest(pane.chat.value, message.id))}>
                Show what followed
              </button>
            )}
          </div>
        )}
      </article>
    );
  },
  (a, b) => a.message === b.message && a.place === b.place && a.of === b.of && a.live === b.live && a.last === b.last && a.goesOn === b.goesOn && a.name === b.name,
);
