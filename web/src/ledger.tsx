// Which texts the cache keeps, how they were used, what went and why, and a button that pins one.
import { signal, useSignalEffect } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { announce } from './announce';
import { getJson, Kept, Ledger as Told, postJson } from './api';
import { bytes, count, duration, tokens } from './format';
import { cache, done, sampled } from './live';

const told = signal<Told | null>(null);
const problem = signal('');
let looked = { at: 0, when: '' }; // ms; and what had been done then

// Between passes, which wait for it: after more was done, and now and then for how long ago that was.
function follow(): void {
  const since = performance.now() - looked.at;
  const when = done.value;
  if (since > (when === looked.when ? 10_000 : 900)) void look();
}

async function look(): Promise<void> {
  if (document.hidden) return;
  looked = { at: performance.now(), when: done.peek() };
  try {
    told.value = await getJson<Told>('/api/loadline/cache');
  } catch {
    // it is asked again
  }
}

async function pin(text: Kept): Promise<void> {
  const pinned = text.pinned_tokens === 0;
  problem.value = '';
  try {
    await postJson('/api/loadline/pin', { id: text.id, pinned });
    announce(pinned ? 'Pinned: it stays until it is unpinned' : 'Unpinned', true);
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
  await look();
}

const since = (seconds: number) => (seconds < 2 ? 'now' : `${duration(seconds)} ago`);
const line = (text: string) => text.replaceAll(/\s+/g, ' ').trim();

function Text({ text, canPin }: { text: Kept; canPin: boolean }) {
  const end = line(text.end);
  return (
    <tr>
      <td>
        <button
          type="button"
          class={text.pinned_tokens > 0 ? 'pinned' : ''}
          disabled={!canPin}
          aria-label={`${text.pinned_tokens > 0 ? 'Unpin' : 'Pin'} the text of ${tokens(text.tokens)} that begins ${line(text.beginning).slice(0, 40)}`}
          onClick={() => void pin(text)}
        >
          {text.pinned_tokens > 0 ? 'Unpin' : 'Pin'}
        </button>
      </td>
      <th scope="row" class="words" title={`${text.beginning} … ${text.end}`}>
        {line(text.beginning)}
        {end && text.tokens > 24 ? ` … ${end}` : ''}
      </th>
      <td>
        {count(text.tokens)} <span class="stats">{bytes(text.bytes)}</span>
        {text.shared_tokens > 0 && <span class="stats"> · {count(text.shared_tokens)} shared</span>}
      </td>
      <td>{text.in_use ? 'in use' : since(text.age)}</td>
      <td>
        {count(text.hits)}
        {text.saved_tokens > 0 && <span class="stats"> saved {tokens(text.saved_tokens)}</span>}
      </td>
    </tr>
  );
}

function Pages() {
  const now = cache.value;
  if (!now || now.pages === 0) return null;
  const { pages, held_pages, kept_pages, pinned_pages, page_cells } = now;
  const part = (many: number) => `${((100 * many) / pages).toFixed(3)}%`;
  const size = (many: number) => `${count(many * page_cells)} tokens, ${bytes(many * now.page_bytes)}`;
  return (
    <>
      <div class="whole thin" role="img" aria-label={`KV cache: ${size(held_pages)} held, ${size(kept_pages)} kept, of ${size(pages)}`}>
        {held_pages > 0 && <i class="p-kv_cache" style={{ left: 0, width: part(held_pages) }} />}
        {kept_pages > 0 && <i class="kept" style={{ left: part(held_pages), width: part(kept_pages) }} />}
      </div>
      <ul class="legend">
        <li>
          <i class="p-kv_cache" /> in use: {size(held_pages)}
          {pinned_pages > 0 ? `, of that pinned ${count(pinned_pages * page_cells)}` : ''}
        </li>
        <li>
          <i class="kept" /> kept, and given away when needed: {size(kept_pages)}
        </li>
        <li>of {size(pages)}</li>
      </ul>
    </>
  );
}

export function Ledger() {
  useEffect(() => void look(), []);
  useSignalEffect(() => {
    void sampled.value;
    follow();
  });
  const now = told.value;
  return (
    <section class="tier" aria-label="KV cache">
      <h3>KV cache</h3>
      <Pages />
      {problem.value && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      {now && now.texts.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label="Texts that the cache keeps">
          <table>
            <thead>
              <tr>
                <th scope="col">keep</th>
                <th scope="col">a prompt that begins so finds it</th>
                <th scope="col">tokens</th>
                <th scope="col">used</th>
                <th scope="col">found</th>
              </tr>
            </thead>
            <tbody>
              {now.texts.map((text) => (
                <Text key={text.id} text={text} canPin={now.can_pin} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {now && now.texts.length === 0 && <p class="stats">Nothing is kept yet: what is read stays until its place is needed.</p>}
      {now && !now.can_pin && <p class="stats">This model's caches keep the last positions only, or states: there is nothing to pin.</p>}
      {now && now.texts_in_all > now.texts.length && <p class="stats">{count(now.texts_in_all - now.texts.length)} more are not shown.</p>}
      {now && (now.gone.length > 0 || now.emptied) && (
        <details>
          <summary>What went, and why</summary>
          <ul class="gone">
            {now.emptied && <li>Everything from before the plan changed: {now.emptied}</li>}
            {now.gone.map((one, i) => (
              <li key={i}>
                {tokens(one.tokens)} of “{line(one.beginning)} …” ({bytes(one.bytes)}), {since(one.ago)}, unused for {duration(one.unused)} and found {count(one.hits)} times: {one.why}.
              </li>
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}
