// The messages of a conversation, the last of them in sight, and what stands there before the first.
import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { count } from './format';
import { ask, isBusy, running } from './generate';
import { modelName } from './live';
import { One } from './message';
import { Conversation, Message, Pane, path } from './store';

const kShown = 60; // messages at first; the others are a button away
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

export function Messages({ pane }: { pane: Pane }) {
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
