// The conversations that are kept: which one is shown, new ones, and files of them in and out.
import { signal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { announce } from './announce';
import { readCard, useCard } from './cards';
import { saveFile } from './copy';
import { Conversation, empty, entries, exportAll, importAll, open, pane, remove, save, show } from './store';

export const listOpen = signal(false); // on narrow screens, where it lies over the rest

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

export function List() {
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
