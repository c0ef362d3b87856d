// The frame: which view is seen, what the server does in a line, and what is said to screen readers.
import { computed, signal, useSignal } from '@preact/signals';
import { ComponentChildren } from 'preact';
import { said, seen } from './announce';
import { setKey, wantsKey } from './api';
import { Chat } from './chat';
import { bytes, rate } from './format';
import { connection, hasModel, held, modelName, places, samples, sampled, start, tiers } from './live';
import { Alarms } from './alarms';
import { Memory } from './memory';
import { Models } from './models';
import { Notebook } from './notebook';
import { Speed } from './speed';
import { showWhatIf, WhatIf } from './whatif';
import { purposeKey, purposeName } from './pieces';

const kViews = { chat: 'Chat', models: 'Models', memory: 'Memory', whatif: 'What if', speed: 'Speed', notebook: 'Notebook' };
type View = keyof typeof kViews;
const view = signal<View>('chat');

function follow(): void {
  const name = location.hash.slice(1);
  view.value = name in kViews ? (name as View) : 'chat';
  showWhatIf(view.value === 'whatif');
}
window.addEventListener('hashchange', follow);
follow();

const speedNow = computed(() => {
  void sampled.value;
  if (!places.value?.places.some((place) => place.state !== 'idle')) return 'idle';
  const last = samples[samples.length - 1];
  return last && last.generation > 0 ? `${rate(last.generation)} tok/s` : 'at work';
});

function Status() {
  const text = { connecting: 'connecting …', live: speedNow.value, lost: 'the server is away' }[connection.value];
  return (
    <p class={`status ${connection}`} title="What the server does">
      <i aria-hidden="true" /> {text}
    </p>
  );
}

// Each tier in a thumb's width, beside whatever is looked at: a way to the whole.
function Rail() {
  const list = tiers.value?.filter((tier) => tier.planned > 0) ?? [];
  if (list.length === 0) return null;
  return (
    <a class="rail" href="#memory" title="Where every byte lies">
      {list.map((tier, i) => (
        <span key={i}>
          <span class="stats">
            {tier.name} {bytes(tier.kind === 'ram' && held.value ? held.value : tier.planned)} of {bytes(tier.budget)}
          </span>
          <span class="mini" title={Object.entries(tier.purposes).map(([n, b]) => `${purposeName(purposeKey(n))} ${bytes(b)}`).join(' · ')}>
            {Object.entries(tier.purposes).map(([name, size]) => (
              <i key={name} class={`p-${purposeKey(name)}`} style={{ flexGrow: size }} />
            ))}
          </span>
        </span>
      ))}
    </a>
  );
}

function Key() {
  const value = useSignal('');
  return (
    <form
      class="key"
      onSubmit={(event) => {
        event.preventDefault();
        setKey(value.value.trim());
        start();
      }}
    >
      <label>
        This server wants an API key{' '}
        <input type="password" autocomplete="off" value={value} onInput={(event) => (value.value = event.currentTarget.value)} />
      </label>
      <button type="submit" class="main">
        Use it
      </button>
    </form>
  );
}

const kPages: Record<View, () => ComponentChildren> = { chat: Chat, models: Models, memory: Memory, whatif: WhatIf, speed: Speed, notebook: Notebook };

export function App() {
  const Page = kPages[view.value];
  return (
    <>
      <a class="skip" href={`#${view.value}`} onClick={(event) => (event.preventDefault(), document.getElementById('main')?.focus())}>
        Skip to the content
      </a>
      <header>
        <h1>
          <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
            <circle cx="16" cy="16" r="9" />
            <path d="M2 16h28" />
          </svg>
          Loadline
        </h1>
        <nav aria-label="Views">
          {Object.entries(kViews).map(([name, label]) => (
            <a key={name} href={`#${name}`} aria-current={name === view.value ? 'page' : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <p class="model" title={modelName.value}>
          {modelName}
        </p>
        <Rail />
        <Status />
      </header>
      {wantsKey.value && <Key />}
      {connection.value === 'lost' && (
        <p class="alarm" role="status">
          The server does not answer; it is asked again until it does. Nothing here is lost.
        </p>
      )}
      <main id="main" tabIndex={-1}>
        {view.value === 'chat' && <Alarms />}
        {view.value !== 'models' && !hasModel.value && connection.value === 'live' && (
          <p class="stats pad">
            No model is loaded. <a href="#models">Choose one</a>
          </p>
        )}
        <Page />
      </main>
      <p class={`toast ${seen.value ? 'seen' : ''}`} role="status">
        {said}
      </p>
    </>
  );
}
