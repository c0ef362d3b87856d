// Text of a model as Markdown. What comes out can hold no script, no style, no image and no form, whatever went in.
import createDOMPurify from 'dompurify';
import { Marked, Token } from 'marked';
import { VNode } from 'preact';
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

// Elements of these without any attribute can do nothing: only what has something else is gone through.
const kMore = /<(?!\/?(?:b|blockquote|br|code|del|em|h[1-6]|hr|i|li|ol|p|pre|s|strong|sub|sup|table|tbody|td|th|thead|tr|ul)>)/;
const clean = (html: string) => (kMore.test(html) ? purify.sanitize(html, kPolicy) : html);

// A block is drawn again only when its own text changed: while an answer streams in, that is the last one.
const Block = memo(
  ({ token }: { token: Token }) => {
    if (token.type === 'space') return null;
    if (token.type === 'code') return <Code text={token.text} language={(token.lang ?? '').slice(0, 20)} />;
    return <Html html={clean(marked.parser([token]))} />;
  },
  (a, b) => a.token.type === b.token.type && a.token.raw === b.token.raw,
);

interface Read {
  text: string;
  tokens: Token[];
  drawn: VNode[]; // of the tokens
}

// What follows a text that was read changes its last block alone: the others are not read again. (Links that are defined
// below what uses them are the exception; they come right when the answer is complete.)
function readOn(before: Read | null, text: string): Read {
  let kept = 0;
  let from = 0; // where the text is read anew
  if (before && text.startsWith(before.text) && !text.includes('\r')) {
    kept = before.tokens.length;
    while (before.tokens[kept - 1]?.type === 'space') --kept;
    if (kept > 0) --kept;
    for (let i = 0; i < kept; ++i) from += before.tokens[i]!.raw.length;
  }
  const more = marked.lexer(from > 0 ? text.slice(from) : text);
  return {
    text,
    tokens: [...(before?.tokens.slice(0, kept) ?? []), ...more],
    drawn: [...(before?.drawn.slice(0, kept) ?? []), ...more.map((token, i) => <Block key={kept + i} token={token} />)],
  };
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
      {read.current.drawn}
    </>
  );
}
