/** What a template sees and writes while it runs: names, steps left, and the text so far with its origins. */
import { TemplateError } from './templateError.js';
import { isText, makeTextBuilder, type Origin, plain, type Text, type TextBuilder } from './traced.js';
import { missing, orElse, type Value } from './values.js';

export interface State {
  out: TextBuilder;
  stepsLeft: number;
  depth: number;
  /** The message whose turn it is. */
  turn: Origin | undefined;
  /** In a round of a loop over something else than messages: a message that it assigns has the turn for the rest of it. */
  indexLoop: boolean;
  generating: boolean;
  readonly generated: Map<Origin | undefined, Origin>;
  readonly globals: ReadonlyMap<string, Value>;
}

/** Names, those of a block before those around it. */
export interface Scope {
  readonly names: Map<string, Value>;
  readonly parent: Scope | undefined;
  readonly state: State;
}

/** A compiled expression. */
export type Evaluate = (scope: Scope) => Value;
/** How a body ended. */
export type Flow = 'done' | 'break' | 'continue';
/** A compiled statement or body. */
export type Run = (scope: Scope) => Flow;

const deepestCall = 150;

/** A scope inside another. */
export const inner = (parent: Scope): Scope => ({ names: new Map(), parent, state: parent.state });

/** The value of a name; a missing value where nobody has set it. */
export const lookUp = (scope: Scope, name: string): Value => {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const value = at.names.get(name);
    if (value !== undefined) return value;
  }
  return orElse(scope.state.globals.get(name), () => missing(`'${name}'`));
};

/** Counts steps. `E_TEMPLATE_LIMIT` when none are left. */
export const step = (state: State, steps = 1): void => {
  state.stepsLeft -= steps;
  if (state.stepsLeft < 0) throw new TemplateError('E_TEMPLATE_LIMIT', 'the template took too many steps');
};

/** What handling a value costs: a step an item or 8 characters. Keeps short programs from doing long work. */
const sizeOf = (value: Value): number => {
  if (value === null || typeof value !== 'object') return typeof value === 'string' ? value.length >> 3 : 0;
  if (isText(value)) return value.text.length >> 3;
  return 'items' in value ? value.items.length : value.kind === 'dict' ? value.entries.size : 0;
};

/** The value, paid for. */
export const paid = (state: State, value: Value): Value => {
  step(state, 1 + sizeOf(value));
  return value;
};

/** The same origin, inside a generation block. */
const generatedOrigin = (state: State, origin: Origin | undefined): Origin => {
  let known = state.generated.get(origin);
  if (known === undefined) {
    known = { ...origin, generated: true };
    state.generated.set(origin, known);
  }
  return known;
};

/** Writes text, put down to the message whose turn it is. */
export const emit = (state: State, text: Text): void => {
  step(state, plain(text).length >> 6);
  if (!state.generating) {
    state.out.add(text, state.turn);
    return;
  }
  const fallback = generatedOrigin(state, state.turn);
  if (typeof text === 'string') {
    state.out.add(text, fallback);
    return;
  }
  const runs = text.runs.map(({ end, origin }) => ({
    end,
    origin: origin === undefined ? fallback : origin.generated === true ? origin : generatedOrigin(state, origin),
  }));
  state.out.add({ kind: 'traced', text: text.text, runs });
};

/** Runs something and takes what it wrote. */
export const captured = (state: State, run: () => void): Text => {
  const outside = state.out;
  state.out = makeTextBuilder();
  try {
    run();
    return state.out.take();
  } finally {
    state.out = outside;
  }
};

/** Runs something a call deeper. `E_TEMPLATE_LIMIT` where that is too deep; `what` is nested. */
export const deeper = <A>(state: State, what: 'calls' | 'loops', run: () => A): A => {
  if (++state.depth > deepestCall) {
    throw new TemplateError('E_TEMPLATE_LIMIT', `${what} nested deeper than ${deepestCall}`);
  }
  try {
    return run();
  } finally {
    state.depth--;
  }
};
