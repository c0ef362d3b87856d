// The conversations that are shown, beside each other, and the list of all.
import { Composer } from './composer';
import { List, listOpen } from './conversations';
import { setWantsChances, wantsChances } from './generate';
import { Messages } from './messages';
import { SeenTokens } from './seen';
import { Settings } from './settings';
import { choose, closePane, kMostPanes, openBeside, Pane, panes, pane, problem } from './store';

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
