// Author's note and world info, for a conversation or a story.
import { Story, WorldEntry } from './story';

const words = (list: string[]) => list.join(', ');
const listOf = (text: string) => text.split(',').map((one) => one.trim()).filter(Boolean);

function One({ entry, number, set }: { entry: WorldEntry; number: number; set: (entry: WorldEntry | null) => void }) {
  return (
    <fieldset class="entry">
      <legend>Entry {number}</legend>
      <div class="row">
        <label>
          Words{' '}
          <input value={words(entry.keys)} placeholder="whale, Moby" disabled={entry.always} onChange={(e) => set({ ...entry, keys: listOf(e.currentTarget.value) })} />
        </label>
        <label>
          and one of <input value={words(entry.also)} placeholder="none" disabled={entry.always} onChange={(e) => set({ ...entry, also: listOf(e.currentTarget.value) })} />
        </label>
        <label>
          <input type="checkbox" checked={entry.always} onChange={(e) => set({ ...entry, always: e.currentTarget.checked })} /> always
        </label>
        <button type="button" class="quiet" aria-label={`Remove entry ${number}`} onClick={() => set(null)}>
          ×
        </button>
      </div>
      <textarea rows={2} aria-label={`What is told by entry ${number}`} value={entry.text} onInput={(e) => set({ ...entry, text: e.currentTarget.value })} />
    </fieldset>
  );
}

export function World({ story, unit, set }: { story: Story; unit: string; set: (story: Story) => void }) {
  return (
    <>
      <label class="block">
        Author's note
        <textarea rows={1} value={story.note} onInput={(event) => set({ ...story, note: event.currentTarget.value })} />
      </label>
      <label>
        so many {unit} before the end{' '}
        <input
          class="short"
          type="number"
          min={0}
          max={1000}
          value={story.depth}
          onChange={(event) => set({ ...story, depth: Math.max(0, Math.min(1000, Math.round(Number(event.currentTarget.value) || 0))) })}
        />
      </label>
      <h3>World info</h3>
      <p class="stats">Each entry is told once one of its words appears.</p>
      {story.world.map((entry, i) => (
        <One
          key={i}
          entry={entry}
          number={i + 1}
          set={(changed) => set({ ...story, world: story.world.flatMap((one, j) => (j !== i ? [one] : changed ? [changed] : [])) })}
        />
      ))}
      <div class="row">
        <button type="button" onClick={() => set({ ...story, world: [...story.world, { keys: [], also: [], text: '', always: false }] })}>
          Add an entry
        </button>
      </div>
    </>
  );
}
