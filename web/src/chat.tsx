// The conversation: messages, and where one writes.
import { signal, useSignal, useSignalEffect } from '@preact/signals';
import { memo } from 'preact/compat';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { announce } from './announce';
import { copyText, saveFile } from './copy';
import { count, rate, tokens } from './format';
import { answer, ask, countTokens, goOn, isBusy, running, stopAll } from './generate';
import { connection, context, modelName, predicted } from './live';
import { Markdown } from './markdown';
import { Settings } from './settings';
import { Conversation, current, deepest, empty, entries, exportAll, importAll, Message, open, path, problem, remove, save, siblings } from './store';
import { readCard, useCard } from './cards';

const kShown = 60; // messages at first; the others are a button away
const draft = signal('');
const listOpen = signal(false);
const settingsOpen = signal(false);

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

function Streaming({ message }: { message: Message }) {
  const live = running.value[message.id]?.live.value;
  if (!live) return null;
  const reading = !live.text && !live.reasoning;
  return (
    <>
      {live.reasoning && <Reasoning text={live.reasoning} going={!live.text} />}
      {live.text && <Markdown text={live.text} />}
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

function Editor({ message, done }: { message: Message; done: () => void }) {
  const text = useSignal(message.text);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current?.focus(), []);
  const apply = () => {
    done();
    if (message.role === 'user') {
      ask(text.value, message);
    } else {
      const conversation = current.value;
      conversation.messages = { ...conversation.messages, [message.id]: { ...message, text: text.value } };
      save(conversation);
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
  message: Message;
  place: number;
  of: number;
  live: boolean;
  last: boolean;
}

const One = memo(
  ({ message, place, of, live, last }: OneProps) => {
    const editing = useSignal(false);
    const isUser = message.role === 'user';
    const turn = (by: number) => {
      const conversation = current.value;
      const other = siblings(conversation, message)[place + by];
      if (!other) return;
      conversation.leaf = deepest(conversation, other.id);
      save(conversation);
    };
    return (
      <article class={`message ${message.role}`} aria-label={isUser ? 'You' : 'Answer'}>
        <h3>{isUser ? 'You' : 'Answer'}</h3>
        {editing.value ? (
          <Editor message={message} done={() => (editing.value = false)} />
        ) : live ? (
          <Streaming message={message} />
        ) : (
          <>
            {message.reasoning && <Reasoning text={message.reasoning} going={false} />}
            {isUser ? <p class="plain">{message.text}</p> : <Markdown text={message.text} />}
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
              <button type="button" class="quiet" onClick={() => answer(message.parent)}>
                Retry
              </button>
            )}
            {!isUser && last && message.text && (
              <button type="button" class="quiet" onClick={() => goOn(message)}>
                Continue
              </button>
            )}
          </div>
        )}
      </article>
    );
  },
  (a, b) => a.message === b.message && a.place === b.place && a.of === b.of && a.live === b.live && a.last === b.last,
);

const kFirst = ['Tell me a story of a small ship.', 'What can you do?', 'Explain what a load line is.'];

function Welcome() {
  return (
    <div class="welcome">
      <svg viewBox="0 0 64 64" width="72" height="72" aria-hidden="true">
        <circle cx="32" cy="32" r="19" />
        <path d="M4 32h56" />
      </svg>
      <h2>{modelName.value ? `${modelName} is loaded` : 'Waiting for the model …'}</h2>
      <p>Everything stays on the machine that runs the server. Write below, or begin with one of these.</p>
      <div class="row">
        {kFirst.map((text) => (
          <button type="button" key={text} onClick={() => ask(text)} disabled={!modelName.value}>
            {text}
          </button>
        ))}
      </div>
    </div>
  );
}

function Messages() {
  const conversation = current.value;
  const all = path(conversation);
  const earlier = useSignal(0);
  const box = useRef<HTMLDivElement>(null);
  const stick = useRef(true);
  useEffect(() => {
    earlier.value = 0;
    stick.current = true;
  }, [conversation.id]);
  const down = () => {
    if (stick.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  };
  useLayoutEffect(down);
  useSignalEffect(() => {
    for (const one of Object.values(running.value)) void one.live.value;
    requestAnimationFrame(down);
  });
  const from = Math.max(0, all.length - kShown - earlier.value);
  const busy = isBusy(conversation);
  const counts = new Map<string, Message[]>();
  for (const message of Object.values(conversation.messages)) {
    const key = `${message.parent} ${message.role}`;
    counts.set(key, [...(counts.get(key) ?? []), message]);
  }
  return (
    <div
      class="messages"
      role="log"
      tabIndex={0}
      aria-label="Conversation"
      aria-busy={busy}
      ref={box}
      onScroll={(event) => {
        const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
        stick.current = scrollHeight - scrollTop - clientHeight < 60;
      }}
    >
      {all.length === 0 && <Welcome />}
      {from > 0 && (
        <button type="button" class="earlier" onClick={() => (earlier.value += kShown)}>
          Show earlier messages ({count(from)})
        </button>
      )}
      {all.slice(from).map((message) => {
        const beside = counts.get(`${message.parent} ${message.role}`) ?? [];
        return (
          <One
            key={message.id}
            message={message}
            place={beside.indexOf(message)}
            of={beside.length}
            live={message.id in running.value}
            last={message.id === conversation.leaf}
          />
        );
      })}
    </div>
  );
}

// Tokens of the conversation with the draft, and what of the context is left.
function Left() {
  const used = useSignal(0);
  useSignalEffect(() => {
    const conversation = current.value;
    const text = draft.value;
    if (!modelName.value || isBusy(conversation)) return;
    const stop = new AbortController();
    const timer = window.setTimeout(async () => {
      try {
        used.value = await countTokens(conversation, text, stop.signal);
      } catch {
        // the next key asks again
      }
    }, 250);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  const all = context.value;
  if (!all || !used.value) return <span class="stats">&nbsp;</span>;
  const left = Math.max(0, all - used.value);
  const seconds = predicted.value?.prompt ? used.value / predicted.value.prompt : 0;
  return (
    <span class={`stats ${left < all / 10 ? 'low' : ''}`}>
      {count(used.value)} tokens so far · {count(left)} of {count(all)} left
      {seconds > 0.5 ? ` · about ${seconds.toFixed(1)} s to the first token` : ''}
      <meter min={0} max={all} value={Math.min(used.value, all)} aria-label="Context used" />
    </span>
  );
}

function Composer() {
  const area = useRef<HTMLTextAreaElement>(null);
  const busy = isBusy(current.value);
  const submit = () => {
    const text = draft.value;
    if (!text.trim() || busy || !modelName.value) return;
    draft.value = '';
    ask(text);
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
            if (event.key === 'Escape' && busy) stopAll(current.value);
          }}
        />
        {busy ? (
          <button type="button" class="stop" onClick={() => stopAll(current.value)}>
            Stop
          </button>
        ) : (
          <button type="submit" class="main" disabled={!draft.value.trim() || !modelName.value}>
            Send
          </button>
        )}
      </div>
      <div class="row hints">
        <Left />
        <span class="stats keys">Enter sends · Shift+Enter: new line · Esc stops</span>
      </div>
    </form>
  );
}

function fork(conversation: Conversation): void {
  const made = { ...structuredClone(conversation), id: empty().id, title: `${conversation.title} (copy)` };
  save(made);
  current.value = made;
}

async function take(files: FileList | null): Promise<void> {
  for (const file of files ?? []) {
    try {
      const card = await readCard(file);
      if (card) {
        useCard(card);
        announce(`${card.name} is here`, true);
        continue;
      }
      const taken = importAll(await file.text());
      announce(taken > 0 ? `${taken} ${taken === 1 ? 'conversation' : 'conversations'} imported` : `${file.name} holds no conversation`, true);
    } catch {
      announce(`${file.name} is neither a file of conversations nor a character card`, true);
    }
  }
}

function List() {
  const input = useRef<HTMLInputElement>(null);
  return (
    <aside class={`list ${listOpen.value ? 'open' : ''}`} aria-label="Conversations">
      <button type="button" class="main wide" onClick={() => ((current.value = empty()), (listOpen.value = false))}>
        New conversation
      </button>
      <ul>
        {entries.value.map((entry) => (
          <li key={entry.id} class={entry.id === current.value.id ? 'here' : ''}>
            <button type="button" class="quiet name" aria-current={entry.id === current.value.id} onClick={() => (open(entry.id), (listOpen.value = false))}>
              {entry.title}
            </button>
            <button type="button" class="quiet" aria-label={`Delete ${entry.title}`} onClick={() => confirm(`Delete “${entry.title}”?`) && remove(entry.id)}>
              ×
            </button>
          </li>
        ))}
      </ul>
      <div class="row">
        <button type="button" class="quiet" onClick={() => fork(current.value)}>
          Duplicate
        </button>
        <button type="button" class="quiet" onClick={() => saveFile('loadline-conversations.json', exportAll())}>
          Export
        </button>
        <button type="button" class="quiet" onClick={() => input.current?.click()}>
          Import
        </button>
        <input
          ref={input}
          type="file"
          class="off-screen"
          tabIndex={-1}
          aria-label="Conversations or character cards to import"
          accept=".json,.png,application/json,image/png"
          multiple
          onChange={(event) => {
            void take(event.currentTarget.files);
            event.currentTarget.value = '';
          }}
        />
      </div>
      <p class="stats">Kept in this browser, for this address. Export keeps them elsewhere; Import takes character cards too.</p>
    </aside>
  );
}

export function Chat() {
  return (
    <div class="chat">
      <List />
      <section class="talk" aria-label="Chat">
        <div class="row bar">
          <button type="button" class="quiet only-narrow" aria-expanded={listOpen.value} onClick={() => (listOpen.value = !listOpen.value)}>
            Conversations
          </button>
          <h2 class="title">{current.value.title || 'New conversation'}</h2>
          <button type="button" class="quiet" aria-expanded={settingsOpen.value} onClick={() => (settingsOpen.value = !settingsOpen.value)}>
            Settings
          </button>
        </div>
        {settingsOpen.value && <Settings close={() => (settingsOpen.value = false)} />}
        {problem.value && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
        <Messages />
        <Composer />
      </section>
    </div>
  );
}
