// Where every byte lies, now.
import { Alarms } from './alarms';
import { TierBars } from './bars';
import { bytes, count, duration, rate } from './format';
import { cache, diskRate, plan, places, predicted, rates, state, tiers } from './live';
import { Ledger } from './ledger';

function Places() {
  const now = places.value;
  if (!now) return null;
  const pages = cache.value;
  const needs = (prompt: number) => (pages ? bytes(Math.ceil(prompt / pages.page_cells) * pages.page_bytes) : '');
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
              <td>{place.begun === false && place.state !== 'idle' ? `waits for ${needs(place.prompt_tokens ?? 0)} of the cache` : text[place.state]}</td>
              <td>{place.prompt_tokens === undefined ? '' : `${count(place.prompt_read ?? 0)} of ${count(place.prompt_tokens)}`}</td>
              <td>{place.cached_tokens === undefined ? '' : count(place.cached_tokens)}</td>
              <td>{place.generated_tokens === undefined ? '' : `${count(place.generated_tokens)} tokens`}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="stats">{now.waiting > 0 ? `${count(now.waiting)} wait for a place: ` : 'Nobody waits'}
        {now.waiters.map((one) => `${count(one.prompt_tokens)} tokens, ${needs(one.prompt_tokens)} of the cache`).join(' · ')}
      </p>
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
        <TierBars key={`${tier.kind}${i}`} plan={made} tier={tier} index={i} live={true} />
      ))}
      <Ledger />
      <Places />
      <Uptime />
    </div>
  );
}

function Uptime() {
  const now = state.value;
  if (!now?.activity) return null;
  return (
    <p class="stats">
      {now.streamed > 0 ? `${bytes(now.streamed)} of weights read from disk, now ${bytes(diskRate.value)}/s · ` : ''}
      {count(now.activity.generations)} answers, {count(now.activity.prompt_tokens)} prompt tokens read, {count(now.activity.cached_tokens)} found in the cache · up{' '}
      {now.uptime < 60 ? 'for less than a minute' : duration(Math.max(90, now.uptime))}
    </p>
  );
}
