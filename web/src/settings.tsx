// What a conversation is led by: the system prompt, and how tokens are drawn, by the names that people know.
import { change, Pane } from './store';
import { defaults } from './live';
import { World } from './world';

interface Setting {
  name: string; // the request's field
  label: string;
  help: string;
  least?: number;
  most?: number;
  step?: number;
}
const kSettings: Setting[] = [
  { name: 'temperature', label: 'Temperature', help: '0: always the likeliest token; higher: more surprise', least: 0, most: 5, step: 0.05 },
  { name: 'top_k', label: 'Top K', help: 'Only so many of the likeliest tokens; 0: all', least: 0, most: 1000, step: 1 },
  { name: 'top_p', label: 'Top P', help: 'The likeliest tokens that together have this probability', least: 0, most: 1, step: 0.01 },
  { name: 'min_p', label: 'Min P', help: 'Tokens at least this fraction as likely as the likeliest', least: 0, most: 1, step: 0.01 },
  { name: 'typical_p', label: 'Typical P', help: 'Tokens near the expected surprise; 1: off', least: 0, most: 1, step: 0.01 },
  { name: 'repeat_penalty', label: 'Repetition penalty', help: 'Above 1: what was said becomes less likely', least: 0.5, most: 3, step: 0.01 },
  { name: 'repeat_last_n', label: 'Repetition window', help: 'Over how many of the last tokens', least: -1, most: 65536, step: 1 },
  { name: 'presence_penalty', label: 'Presence penalty', help: 'For what was said at all', least: -2, most: 2, step: 0.1 },
  { name: 'frequency_penalty', label: 'Frequency penalty', help: 'For each time it was said', least: -2, most: 2, step: 0.1 },
  { name: 'dry_multiplier', label: 'DRY multiplier', help: 'Against repeating whole phrases; 0: off', least: 0, most: 5, step: 0.1 },
  { name: 'xtc_probability', label: 'XTC probability', help: 'How often the likeliest are left out; 0: never', least: 0, most: 1, step: 0.05 },
  { name: 'mirostat', label: 'Mirostat', help: '0: off; 1 or 2: holds the surprise at a level', least: 0, most: 2, step: 1 },
  { name: 'seed', label: 'Seed', help: 'The same seed gives the same answer', least: -1, most: 4294967295, step: 1 },
  { name: 'max_tokens', label: 'Longest answer', help: 'In tokens', least: 1, most: 1048576, step: 1 },
];

function put(pane: Pane, name: string, value: unknown): void {
  const sampling = { ...pane.chat.value.sampling };
  if (value === undefined) delete sampling[name];
  else sampling[name] = value;
  change(pane, { sampling });
}

function schemaText(value: unknown): string {
  const schema = (value as { json_schema?: { schema?: unknown } } | undefined)?.json_schema?.schema;
  return schema === undefined ? '' : JSON.stringify(schema, null, 1);
}

export function Settings({ pane, close }: { pane: Pane; close: () => void }) {
  const conversation = pane.chat.value;
  const sampling = conversation.sampling;
  const set = (name: string, value: unknown) => put(pane, name, value);
  return (
    <section class="settings" aria-label="Settings of this conversation" onKeyDown={(event) => event.key === 'Escape' && close()}>
      <label class="block">
        System prompt
        <textarea
          rows={3}
          value={conversation.system}
          placeholder="What the model is to be, and how it is to answer"
          onInput={(event) => (pane.chat.value.system = event.currentTarget.value)}
          onChange={(event) => change(pane, { system: event.currentTarget.value })}
        />
      </label>
      <div class="grid">
        {kSettings.map((one) => {
          const usual = defaults.value[one.name];
          return (
            <label key={one.name} title={one.help}>
              {one.label}
              <input
                type="number"
                min={one.least}
                max={one.most}
                step={one.step}
                value={(sampling[one.name] as number | undefined) ?? ''}
                placeholder={typeof usual === 'number' && usual >= 0 ? String(Math.round(usual * 1000) / 1000) : 'as the server'}
                onChange={(event) => {
                  const text = event.currentTarget.value;
                  set(one.name, text === '' ? undefined : Number(text));
                }}
              />
              <small>{one.help}</small>
            </label>
          );
        })}
        <label title="Where one of these would appear, the answer ends">
          Stop at
          <input
            value={((sampling.stop as string[] | undefined) ?? []).join(' | ')}
            placeholder="words, with | between them"
            onChange={(event) => {
              const words = event.currentTarget.value.split('|').map((w) => w.trim()).filter(Boolean);
              set('stop', words.length > 0 ? words : undefined);
            }}
          />
          <small>Where one of these would appear, the answer ends</small>
        </label>
        <label title="For models that think before they answer">
          Reasoning
          <select
            value={sampling.enable_thinking === undefined ? '' : String(sampling.enable_thinking)}
            onChange={(event) => {
              const value = event.currentTarget.value;
              set('enable_thinking', value === '' ? undefined : value === 'true');
            }}
          >
            <option value="">as the model</option>
            <option value="true">on</option>
            <option value="false">off</option>
          </select>
          <small>For models that think before they answer</small>
        </label>
      </div>
      <details>
        <summary>What answers must match</summary>
        <label class="block">
          JSON schema
          <textarea
            rows={3}
            spellcheck={false}
            value={schemaText(sampling.response_format)}
            placeholder='{"type": "object", "properties": { … }}'
            onChange={(event) => {
              const box = event.currentTarget;
              box.setCustomValidity('');
              if (!box.value.trim()) return set('response_format', undefined);
              try {
                const schema = JSON.parse(box.value);
                set('response_format', { type: 'json_schema', json_schema: { name: 'answer', schema } });
              } catch {
                box.setCustomValidity('This is no JSON');
                box.reportValidity();
              }
            }}
          />
        </label>
        <label class="block">
          Grammar (GBNF)
          <textarea
            rows={3}
            spellcheck={false}
            value={(sampling.grammar as string | undefined) ?? ''}
            placeholder='root ::= "yes" | "no"'
            onChange={(event) => set('grammar', event.currentTarget.value.trim() ? event.currentTarget.value : undefined)}
          />
        </label>
      </details>
      <details open={conversation.story.world.length > 0}>
        <summary>Author's note and world info</summary>
        <World story={conversation.story} unit="messages" set={(story) => change(pane, { story })} />
      </details>
      <div class="row">
        <button type="button" onClick={() => change(pane, { sampling: {} })}>
          As the server has them
        </button>
        <button type="button" onClick={close}>
          Close
        </button>
      </div>
    </section>
  );
}
