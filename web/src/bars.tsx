// A tier as bars: the whole of it to scale with its budget, and what the plan puts there, enlarged, down to the region.
import { useSignal } from '@preact/signals';
import { memo } from 'preact/compat';
import { useMemo } from 'preact/hooks';
import { Plan, Tier } from './api';
import { bytes, count } from './format';
import { experts, now } from './live';
import { Piece, piecesOf, purposeKey, purposeName } from './pieces';

const kKinds = { ram: 'system memory', gpu: 'graphics memory', disk: 'disk' };

function percent(part: number, whole: number): string {
  return `${Math.max(0, Math.min(100, (part / whole) * 100)).toFixed(3)}%`;
}

// What is held of a tier, by the system's account, and what others hold; only of the plan that runs.
function useNow(index: number, live: boolean, tier: Tier): { held: number; others: number } {
  const found = live ? now.value?.[index] : undefined;
  return { held: found?.held ?? 0, others: Math.max(0, tier.capacity - (found?.available ?? tier.available)) };
}

interface OfTier {
  tier: Tier;
  index: number;
  live: boolean;
}

// To scale: planned by purpose from the left, what others use at the right, the budget as a line.
function Whole({ tier, index, live }: OfTier) {
  const { planned, budget, capacity } = tier;
  const { held, others } = useNow(index, live, tier);
  const over = Math.max(0, planned - budget);
  // What overflows is drawn to the scale of what is needed, so that both sides of the line are seen.
  const whole = over > 0 ? planned : Math.max(capacity, planned, budget, 1);
  const text =
    `${bytes(planned)} planned, budget ${bytes(budget)}, capacity ${bytes(capacity)}` +
    (held > 0 ? `, ${bytes(held)} held` : '') +
    (over > 0 ? `; ${bytes(over)} more than the budget` : '');
  let left = 0;
  return (
    <div class={`whole ${over > 0 ? 'over' : ''}`} role="img" aria-label={text}>
      {Object.entries(tier.purposes).map(([name, size]) => {
        const begin = left;
        left += size;
        return <i key={name} class={`p-${purposeKey(name)}`} style={{ left: percent(begin, whole), width: percent(size, whole) }} />;
      })}
      {others > 0 && over === 0 && <i class="others" style={{ right: percent(whole - capacity, whole), width: percent(others, whole) }} />}
      {over > 0 && <i class="excess" style={{ left: percent(budget, whole), width: percent(over, whole) }} />}
      {held > 0 && <i class={`held ${held > planned ? 'over' : ''}`} style={{ left: 0, width: percent(held, whole) }} />}
      <b class="budget" style={{ left: percent(budget, whole) }} />
    </div>
  );
}

// The second line of the enlarged bar.
function Second({ tier, index, live }: OfTier) {
  const { held } = useNow(index, live, tier);
  if (held === 0) return null;
  return (
    <div class="second" role="img" aria-label={`Held by the system's account: ${bytes(held)}`}>
      <i class={held > tier.planned ? 'over' : ''} style={{ width: percent(held, Math.max(held, tier.planned)) }} />
    </div>
  );
}

const Detail = memo(({ plan, tier, index, live }: OfTier & { plan: Plan }) => {
  const pieces = useMemo(() => piecesOf(plan, index, experts.value ?? 0), [plan, index, experts.value]);
  const open = useSignal<string[]>([]); // the pieces that are looked into, the outermost first
  const told = useSignal<Piece | null>(null);
  const focused = useSignal(0);
  const inside: Piece[] = [];
  for (const key of open.value) {
    const next = (inside[inside.length - 1]?.parts ?? pieces).find((piece) => piece.key === key && piece.parts.length > 0);
    if (!next) break;
    inside.push(next);
  }
  const innermost = inside[inside.length - 1];
  const shown = innermost ? innermost.parts : pieces;
  const total = shown.reduce((sum, piece) => sum + piece.size, 0);
  const sentence = (piece: Piece) => `${piece.label} · ${purposeName(piece.purpose)} · ${bytes(piece.size)} · ${tier.name}`;
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === 'Escape') open.value = inside.slice(0, -1).map((piece) => piece.key);
    if (step === undefined) return;
    event.preventDefault();
    focused.value = Math.max(0, Math.min(shown.length - 1, focused.value + step));
    ((event.currentTarget as HTMLElement).children[focused.value] as HTMLElement).focus();
  };
  return (
    <>
      <div class="pieces" role="group" aria-label={`Regions in ${tier.name}; arrow keys go through them`} onKeyDown={move} onMouseLeave={() => (told.value = null)}>
        {shown.map((piece, i) => (
          <button
            type="button"
            key={piece.key}
            class={`p-${piece.purpose}`}
            style={{ flexGrow: piece.size }}
            tabIndex={i === Math.min(focused.value, shown.length - 1) ? 0 : -1}
            aria-label={sentence(piece)}
            onMouseEnter={() => (told.value = piece)}
            onFocus={() => {
              focused.value = i;
              told.value = piece;
            }}
            onClick={() => {
              focused.value = 0;
              told.value = piece;
              open.value = piece.parts.length > 0 ? [...inside.map((one) => one.key), piece.key] : [];
            }}
          >
            {piece.size / total > 0.06 ? piece.label : piece.size / total > 0.02 && piece.parts.length > 0 ? piece.label.replace('layer ', '') : ''}
          </button>
        ))}
      </div>
      <Second tier={tier} index={index} live={live} />
      <p class="told" aria-live="off">
        {told.value ? sentence(told.value) : innermost ? `${innermost.label} enlarged` : 'Point at a region for its name and bytes; press it to look inside.'}
        {told.value && told.value.parts.length > 1 ? ` · ${count(told.value.parts.length)} parts` : ''}
        {innermost && (
          <button type="button" class="quiet" onClick={() => (open.value = [])}>
            Back to the whole tier
          </button>
        )}
      </p>
    </>
  );
});

function Line({ tier, index, live }: OfTier) {
  const { held, others } = useNow(index, live, tier);
  return (
    <p class="stats">
      <b>{bytes(tier.planned)}</b> planned of {bytes(tier.budget)} budget
      {held > 0 ? ` · ${bytes(held)} held` : ''} · {bytes(tier.capacity)} in all, {bytes(others)} used by others · headroom {bytes(tier.headroom)}
    </p>
  );
}

// `live`: it is the plan that runs.
export function TierBars({ plan, tier, index, live }: { plan: Plan; tier: Tier; index: number; live: boolean }) {
  if (tier.kind === 'disk' && tier.planned === 0) return null;
  const over = tier.planned - tier.budget;
  return (
    <section class="tier" aria-label={tier.name}>
      <h3>
        {tier.name} <small>{tier.name === 'RAM' ? '' : kKinds[tier.kind]}</small>
      </h3>
      <Line tier={tier} index={index} live={live} />
      <Whole tier={tier} index={index} live={live} />
      {over > 0 && (
        <p class="error">
          {bytes(over)} more than the budget of {bytes(tier.budget)}
        </p>
      )}
      <Detail key={plan.model.fingerprint} plan={plan} tier={tier} index={index} live={live} />
      <ul class="legend">
        {Object.entries(tier.purposes).map(([name, size]) => (
          <li key={name}>
            <i class={`p-${purposeKey(name)}`} /> {purposeName(purposeKey(name))} {bytes(size)}
          </li>
        ))}
        {live && tier.kind !== 'disk' && (
          <li>
            <i class="k-held" /> held, by the system's account
          </li>
        )}
        {tier.capacity > tier.available && over <= 0 && (
          <li>
            <i class="others" /> others
          </li>
        )}
        <li>
          <i class="k-budget" /> budget
        </li>
      </ul>
    </section>
  );
}
