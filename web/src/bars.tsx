// A tier as bars: the whole of it to scale with its budget, and what the plan puts there, enlarged, down to the region.
import { useSignal } from '@preact/signals';
import { Plan, Tier } from './api';
import { bytes } from './format';
import { Piece, piecesOf, purposeKey, purposeName } from './pieces';

const kKinds = { ram: 'system memory', gpu: 'graphics memory', disk: 'disk' };

function percent(part: number, whole: number): string {
  return `${Math.max(0, Math.min(100, (part / whole) * 100)).toFixed(3)}%`;
}

// To scale: planned by purpose from the left, what others use at the right, the budget as a line.
function Whole({ tier, held }: { tier: Tier; held: number }) {
  const { planned, budget, capacity, available } = tier;
  const over = Math.max(0, planned - budget);
  // What overflows is drawn to the scale of what is needed, so that both sides of the line are seen.
  const whole = over > 0 ? planned : Math.max(capacity, planned, budget, 1);
  const others = Math.max(0, capacity - available);
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

function Detail({ pieces, tier, held }: { pieces: Piece[]; tier: Tier; held: number }) {
  const open = useSignal<string | null>(null);
  const told = useSignal<Piece | null>(null);
  const focused = useSignal(0);
  const inside = pieces.find((piece) => piece.key === open.value && piece.parts.length > 0);
  const shown = inside ? inside.parts : pieces;
  const total = shown.reduce((sum, piece) => sum + piece.size, 0);
  const sentence = (piece: Piece) => `${piece.label} · ${purposeName(piece.purpose)} · ${bytes(piece.size)} · ${tier.name}`;
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === 'Escape') open.value = null;
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
              open.value = inside ? null : piece.parts.length > 0 ? piece.key : null;
            }}
          >
            {piece.size / total > 0.06 ? piece.label : piece.size / total > 0.02 && piece.parts.length > 0 ? piece.label.replace('layer ', '') : ''}
          </button>
        ))}
      </div>
      {held > 0 && (
        <div class="second" role="img" aria-label={`Held by the system's account: ${bytes(held)}`}>
          <i class={held > tier.planned ? 'over' : ''} style={{ width: percent(held, Math.max(held, tier.planned)) }} />
        </div>
      )}
      <p class="told" aria-live="off">
        {told.value ? sentence(told.value) : inside ? `${inside.label} enlarged` : 'Point at a region for its name and bytes; press it to look inside.'}
        {told.value && told.value.parts.length > 1 && !inside ? ` · ${told.value.parts.length} regions` : ''}
        {inside && (
          <button type="button" class="quiet" onClick={() => (open.value = null)}>
            Back to the whole tier
          </button>
        )}
      </p>
    </>
  );
}

// `held`: what the system says of it, in bytes; 0: nobody knows.
export function TierBars({ plan, tier, index, held }: { plan: Plan; tier: Tier; index: number; held: number }) {
  if (tier.kind === 'disk' && tier.planned === 0) return null;
  const over = tier.planned - tier.budget;
  return (
    <section class="tier" aria-label={tier.name}>
      <h3>
        {tier.name} <small>{tier.name === 'RAM' ? '' : kKinds[tier.kind]}</small>
      </h3>
      <p class="stats">
        <b>{bytes(tier.planned)}</b> planned of {bytes(tier.budget)} budget
        {held > 0 ? ` · ${bytes(held)} held` : ''} · {bytes(tier.capacity)} in all, {bytes(Math.max(0, tier.capacity - tier.available))} used by others · headroom{' '}
        {bytes(tier.headroom)}
      </p>
      <Whole tier={tier} held={held} />
      {over > 0 && (
        <p class="error">
          {bytes(over)} more than the budget of {bytes(tier.budget)}
        </p>
      )}
      <Detail key={plan.model.fingerprint} pieces={piecesOf(plan, index)} tier={tier} held={held} />
      <ul class="legend">
        {Object.entries(tier.purposes).map(([name, size]) => (
          <li key={name}>
            <i class={`p-${purposeKey(name)}`} /> {purposeName(purposeKey(name))} {bytes(size)}
          </li>
        ))}
        {held > 0 && (
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
