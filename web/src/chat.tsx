// The conversation: messages, and where one writes.
import { signal, useSignal, useSignalEffect } from '@preact/signals';
import { memo } from 'preact/compat';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { announce } from './announce';
import { copyText, saveFile } from './copy';
import { count, duration, rate, tokens } from './format';
import { answer, ask, drawn, goOn, isBusy, look, running, Seen, setWantsChances, stopAll, wantsChances } from './generate';
import { connection, context, modelName } from './live';
import { Markdown } from './markdown';
import { Settings } from './settings';
import {
  choose, closePane, Conversation, deepest, empty, entries, exportAll, importAll, kMostPanes, Message, open, openBeside, Pane, pane, panes, path,
  problem, remove, save, show, siblings,
} from './store';
import { readCard, useCard } from './cards';
import { Shown, shownOf, Tokens } from './tokens';

const kShown = 60; // messages at first; the others are a button away
const kMostSeen = 4000; // tokens of a prompt that are drawn
const listOpen = signal(false);

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

const One = memo(
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

const kFirst = ['Tell me a story of a small ship.', 'What can you do?', 'Explain what a load line is.'];

function Welcome({ pane }: { pane: Pane }) {
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
          <button type="button" key={text} onClick={() => ask(pane, text)} disabled={!modelName.value}>
            {text}
          </button>
        ))}
      </div>
    </div>
  );
}

function Messages({ pane }: { pane: Pane }) {
  const conversation = pane.chat.value;
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
  useEffect(() => {
    const watch = new ResizeObserver(down); // what is told below the messages may take another line
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const from = Math.max(0, all.length - kShown - earlier.value);
  const busy = isBusy(conversation);
  const counts = new Map<string, Message[]>();
  const parents = new Set<string | null>();
  for (const message of Object.values(conversation.messages)) {
    const key = `${message.parent} ${message.role}`;
    const beside = counts.get(key);
    if (beside) beside.push(message);
    else counts.set(key, [message]);
    parents.add(message.parent);
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
      {conversation.character && <Who conversation={conversation} />}
      {all.length === 0 && <Welcome pane={pane} />}
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
            pane={pane}
            name={conversation.character?.name ?? ''}
            message={message}
            place={beside.indexOf(message)}
            of={beside.length}
            live={message.id in running.value}
            last={message.id === conversation.leaf}
            goesOn={message.id === conversation.leaf && parents.has(message.id)}
            settle={down}
          />
        );
      })}
    </div>
  );
}

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
function Left({ pane }: { pane: Pane }) {
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
function SeenTokens({ pane }: { pane: Pane }) {
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

function Who({ conversation }: { conversation: Conversation }) {
  const who = conversation.character!;
  return (
    <section class="who" aria-label={`The character ${who.name}`}>
      {who.picture && <img src={who.picture} alt={`Picture of ${who.name}`} />}
      <div>
        <b>{who.name}</b>
        {who.by && <span class="stats"> by {who.by}</span>}
        {who.notes && <p class="plain stats">{who.notes}</p>}
        <details>
          <summary>What the model is told of {who.name}</summary>
          <p class="plain">{conversation.system}</p>
        </details>
      </div>
    </section>
  );
}

function Composer({ pane }: { pane: Pane }) {
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

function fork(conversation: Conversation): void {
  const made = { ...structuredClone(conversation), id: empty().id, title: `${conversation.title} (copy)` };
  save(made);
  show(made);
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
      <button type="button" class="main wide" onClick={() => (show(empty()), (listOpen.value = false))}>
        New conversation
      </button>
      <ul>
        {entries.value.map((entry) => (
          <li key={entry.id} class={entry.id === pane.value.chat.value.id ? 'here' : ''}>
            <button type="button" class="quiet name" aria-current={entry.id === pane.value.chat.value.id} onClick={() => (open(entry.id), (listOpen.value = false))}>
              {entry.title}
            </button>
            <button type="button" class="quiet" aria-label={`Delete ${entry.title}`} onClick={() => confirm(`Delete “${entry.title}”?`) && remove(entry.id)}>
              ×
            </button>
          </li>
        ))}
      </ul>
      <div class="row">
        <button type="button" class="quiet" onClick={() => fork(pane.value.chat.value)}>
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

function Talk({ one }: { one: Pane }) {
  const several = panes.value.length > 1;
  const toggle = (what: 'settings' | 'seen') => (one.open.value = one.open.value === what ? '' : what);
  return (
    <section
      class={`talk ${several && one === pane.value ? 'here' : ''}`}
      aria-label={several ? `Chat ${panes.value.indexOf(one) + 1}` : 'Chat'}
      onFocusCapture={() => choose(one)}
      onPointerDown={() => choose(one)}
    >
      <div class="row bar">
        <button type="button" class="quiet only-narrow" aria-label="Conversations" aria-expanded={listOpen.value} onClick={() => (listOpen.value = !listOpen.value)}>
          ☰
        </button>
        <h2 class="title">{one.chat.value.title || 'New conversation'}</h2>
        <button type="button" class="quiet" aria-expanded={one.open.value === 'settings'} onClick={() => toggle('settings')}>
          Settings
        </button>
        <button type="button" class="quiet" aria-expanded={one.open.value === 'seen'} title="The conversation as tokens, as the model sees it" onClick={() => toggle('seen')}>
          Tokens
        </button>
        <button
          type="button"
          class="quiet"
          aria-pressed={wantsChances.value}
          title="Answers from now on show how likely each token was, and what else could have been"
          onClick={() => setWantsChances(!wantsChances.value)}
        >
          Chances
        </button>
        {several ? (
          <button type="button" class="quiet" aria-label="Close this pane" onClick={() => closePane(one)}>
            ×
          </button>
        ) : null}
        {panes.value.length < kMostPanes && one === panes.value[panes.value.length - 1] && (
          <button type="button" class="quiet only-wide" title="Another conversation beside this one" onClick={openBeside}>
            Beside
          </button>
        )}
      </div>
      {one.open.value === 'settings' && <Settings pane={one} close={() => (one.open.value = '')} />}
      {one.open.value === 'seen' && <SeenTokens pane={one} />}
      {problem.value && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      <Messages pane={one} />
      <Composer pane={one} />
    </section>
  );
}

export function Chat() {
  return (
    <div class="chat">
      <List />
      {panes.value.map((one) => (
        <Talk key={one.key} one={one} />
      ))}
    </div>
  );
}
