// Where every byte lies, now.
import { bytes, count, duration } from './format';
import { cache, held, plan, places, predicted, rates, state, tiers, trouble, verdicts } from './live';
import { rate } from './format';
import { TierBars } from './bars';

export function Alarms() {
  const ram = tiers.value?.find((tier) => tier.kind === 'ram');
  const more = ram && held.value ? held.value - ram.planned : 0;
  const sentences = [];
  if (trouble.value) sentences.push(trouble.value);
  if (more > 0 && !trouble.value) sentences.push(`The process holds ${bytes(more)} more RAM than was planned.`);
  for (const { kind, slowdown, evidence, remedy } of verdicts.value ?? []) {
    const times = slowdown && slowdown > 1.05 ? `; answers take ${slowdown.toFixed(1)} times as long` : '';
    sentences.push(`${kind.replaceAll('_', ' ')}: ${evidence ?? 'the machine is not as planned'}${times}. ${remedy ?? ''}`);
  }
  if (sentences.length === 0) return null;
  return (
    <div class="alarm" role="alert">
      {sentences.map((text) => (
        <p key={text}>
          {text} <a href="#whatif">See what would fit</a>
        </p>
      ))}
    </div>
  );
}

function Cache() {
  const now = cache.value;
  if (!now || now.pages === 0) return null;
  const cells = now.held_pages * now.page_cells;
  return (
    <section class="tier" aria-label="KV cache in use">
      <h3>KV cache in use</h3>
      <p class="stats">
        {count(cells)} of {count(now.pages * now.page_cells)} tokens · {count(now.held_pages)} of {count(now.pages)} pages of {now.page_cells}
      </p>
      <div class="whole thin" role="img" aria-label={`${now.held_pages} of ${now.pages} pages in use`}>
        {cells > 0 && <i class="p-kv_cache" style={{ left: 0, width: `${(100 * now.held_pages) / now.pages}%` }} />}
      </div>
    </section>
  );
}

function Places() {
  const now = places.value;
  if (!now) return null;
  const text = { idle: 'free', reading: 'reads a prompt', generating: 'answers' };
  return (
    <section class="tier" aria-label="Sessions">
      <h3>Sessions</h3>
      <table>
        <thead>
          <tr>
            <th scope="col">place</th>
            <th scope="col">does</th>
            <th scope="col">prompt</th>
            <th scope="col">of it cached</th>
            <th scope="col">answer</th>
          </tr>
        </thead>
        <tbody>
          {now.places.map((place, i) => (
            <tr key={i} class={place.state}>
              <th scope="row">{i + 1}</th>
              <td>{text[place.state]}</td>
              <td>{place.prompt_tokens === undefined ? '' : `${count(place.prompt_read ?? 0)} of ${count(place.prompt_tokens)}`}</td>
              <td>{place.cached_tokens === undefined ? '' : count(place.cached_tokens)}</td>
              <td>{place.generated_tokens === undefined ? '' : `${count(place.generated_tokens)} tokens`}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="stats">{now.waiting > 0 ? `${now.waiting} wait for a place` : 'Nobody waits'}</p>
    </section>
  );
}

export function Memory() {
  const made = plan.value;
  if (!made || !tiers.value) return <p class="stats pad">Waiting for a model …</p>;
  return (
    <div class="view">
      <h2>Memory</h2>
      <p class="stats">
        {made.model.name} · context {count(made.shape.context)} · {made.shape.sequences} at a time · KV cache {made.shape.k_type.toLowerCase()}/
        {made.shape.v_type.toLowerCase()} · generation {rate(rates.value?.generation ?? 0)} tok/s (predicted {rate(predicted.value?.generation ?? 0)})
      </p>
      <Alarms />
      {tiers.value.map((tier, i) => (
        <TierBars key={`${tier.kind}${i}`} plan={made} tier={tier} index={i} held={tier.kind === 'ram' ? (held.value ?? 0) : 0} />
      ))}
      <div class="pair">
        <Cache />
        <Places />
      </div>
      <Uptime />
    </div>
  );
}

function Uptime() {
  const now = state.value;
  if (!now?.activity) return null;
  return (
    <p class="stats">
      {now.streamed > 0 ? `${bytes(now.streamed)} read from disk · ` : ''}
      {count(now.activity.generations)} answers, {count(now.activity.prompt_tokens)} prompt tokens read, {count(now.activity.cached_tokens)} found in the cache · up{' '}
      {duration(now.uptime)}
    </p>
  );
}
