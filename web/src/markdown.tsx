// Text of a model as Markdown. What comes out can hold no script, no style, no image and no form, whatever went in.
import createDOMPurify from 'dompurify';
import { Marked, Token } from 'marked';
import { memo } from 'preact/compat';
import { useRef } from 'preact/hooks';
import { copyText } from './copy';

const marked = new Marked({ gfm: true, breaks: true, async: false });
// Markup in an answer is text like any other: it is shown, not followed.
const escaped = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
marked.use({ renderer: { html: ({ text }) => escaped(text), image: ({ text, href }) => escaped(`[image: ${text || href}]`) } });
const purify = createDOMPurify(window);
const kPolicy = {
  ALLOWED_TAGS: [
    'a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p',
    'pre', 's', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
  ],
  ALLOWED_ATTR: ['href', 'align', 'start', 'title'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  if (!node.hasAttribute('href')) return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer');
});

const Html = memo(({ html }: { html: string }) => <div class="md" dangerouslySetInnerHTML={{ __html: html }} />);

const Code = memo(({ text, language }: { text: string; language: string }) => (
  <figure class="code">
    <figcaption>
      <span>{language || 'text'}</span>
      <button type="button" class="quiet" onClick={(event) => copyText(text, event.currentTarget)}>
        Copy
      </button>
    </figcaption>
    <pre tabIndex={0} aria-label={`Code${language ? ` in ${language}` : ''}`}>
      <code>{text}</code>
    </pre>
  </figure>
));

// A block is drawn again only when its own text changed: while an answer streams in, that is the last one.
const Block = memo(
  ({ token }: { token: Token }) => {
    if (token.type === 'space') return null;
    if (token.type === 'code') return <Code text={token.text} language={(token.lang ?? '').slice(0, 20)} />;
    return <Html html={purify.sanitize(marked.parser([token]), kPolicy)} />;
  },
  (a, b) => a.token.type === b.token.type && a.token.raw === b.token.raw,
);

interface Read {
  text: string;
  tokens: Token[];
}

// What follows a text that was read changes its last block alone: the others are not read again. (Links that are defined
// below what uses them are the exception; they come right when the answer is complete.)
function readOn(before: Read | null, text: string): Read {
  if (!before || before.text.length > text.length || !text.startsWith(before.text) || text.includes('\r')) return { text, tokens: marked.lexer(text) };
  const kept = [...before.tokens];
  while (kept[kept.length - 1]?.type === 'space') kept.pop();
  kept.pop();
  const from = kept.reduce((sum, token) => sum + token.raw.length, 0);
  return { text, tokens: [...kept, ...marked.lexer(text.slice(from))] };
}

export function Markdown({ text }: { text: string }) {
  const read = useRef<Read | null>(null);
  try {
    read.current = readOn(read.current, text);
  } catch {
    return <p class="plain">{text}</p>;
  }
  return (
    <>
      {read.current.tokens.map((token, i) => (
        <Block key={i} token={token} />
      ))}
    </>
  );
}
