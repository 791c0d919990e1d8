/** The public surface as an editor shows it: what is exported says what it is, and every type it names can be named. */
import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { entries, page, programOf, referenceOf } from '../docs/reference.mjs';
import { root } from './cli/rxtune.js';

const sources = join(root, 'src', '/');
const program = programOf();
const checker = program.getTypeChecker();

const meant = (symbol: ts.Symbol): ts.Symbol =>
  (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);

const exportsOf = (file: string): ReadonlyArray<ts.Symbol> => {
  const source = program.getSourceFile(file);
  const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
  return module === undefined ? [] : checker.getExportsOfModule(module);
};

/** Declarations in this package. */
const ours = (symbol: ts.Symbol): ReadonlyArray<ts.Declaration> =>
  (symbol.declarations ?? []).filter((one) => one.getSourceFile().fileName.startsWith(sources));

/** The types of this package that a declaration names, without what functions do inside. */
const namedIn = (declaration: ts.Node): ReadonlyArray<ts.Symbol> => {
  const found: Array<ts.Symbol> = [];
  const walk = (node: ts.Node): void => {
    if (ts.isBlock(node)) return;
    if (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)) {
      const named = checker.getSymbolAtLocation(ts.isTypeReferenceNode(node) ? node.typeName : node.expression);
      if (named !== undefined) found.push(meant(named));
    }
    if (ts.isArrowFunction(node))
      [...(node.typeParameters ?? []), ...node.parameters, node.type].forEach((one) => one && walk(one));
    else ts.forEachChild(node, walk);
  };
  walk(declaration);
  return found.filter((symbol) => ours(symbol).length > 0);
};

/** What a module exports under some name; an alias that it keeps to itself is written out where it is used. */
const isNameable = (symbol: ts.Symbol): boolean =>
  (symbol.flags & ts.SymbolFlags.TypeParameter) !== 0 ||
  ours(symbol).every(
    (one) => ts.isTypeAliasDeclaration(one) && (ts.getCombinedModifierFlags(one) & ts.ModifierFlags.Export) === 0,
  );

const docOf = (symbol: ts.Symbol): string => ts.displayPartsToString(symbol.getDocumentationComment(checker));

/** The module that a name stands for, if it stands for one. */
const moduleOf = (symbol: ts.Symbol): ts.Symbol | undefined => {
  const module = (symbol.flags & ts.SymbolFlags.Variable) === 0 ? symbol : checker.getTypeOfSymbol(symbol).getSymbol();
  return module !== undefined && (module.flags & ts.SymbolFlags.ValueModule) !== 0 ? module : undefined;
};

/** What such a module exports, by the names it has there. */
const partsOf = (symbol: ts.Symbol): ReadonlyArray<ts.Symbol> => {
  const module = moduleOf(symbol);
  return module === undefined ? [] : checker.getExportsOfModule(module);
};

/** What a name stands for, with the parts of a module. */
const told = (entry: string): ReadonlyArray<ts.Symbol> =>
  exportsOf(entry)
    .map(meant)
    .flatMap((symbol) => {
      const module = moduleOf(symbol);
      return module === undefined ? [symbol] : [symbol, ...checker.getExportsOfModule(module).map(meant)];
    })
    .filter((symbol) => ours(symbol).length > 0);

/** Options that a function may be called without, each as `Type.option`. */
const choices = (entry: string): ReadonlyArray<readonly [string, ts.PropertySignature]> =>
  exportsOf(entry)
    .filter(({ name }) => /(Options|Setup)$/.test(name))
    .flatMap((symbol) =>
      ours(meant(symbol))
        .flatMap((one) => (ts.isInterfaceDeclaration(one) ? [...one.members] : []))
        .filter(ts.isPropertySignature)
        .filter(({ questionToken }) => questionToken !== undefined)
        .map((member) => [`${symbol.name}.${member.name.getText()}`, member] as const),
    );

describe.each(entries)('%s', (entry) => {
  test('every name says what it stands for', () => {
    const silent = told(entry)
      .filter((symbol) => docOf(symbol) === '')
      .map(({ name }) => name);
    expect(silent).toEqual([]);
  });

  test('every option that may be left out says what it does, and may be undefined', () => {
    const undefinedIsNone = ({ type }: ts.PropertySignature): boolean =>
      type !== undefined && ts.isUnionTypeNode(type) && type.types.some((one) => one.getText() === 'undefined');
    const wrong = choices(entry)
      .filter(([, member]) => {
        const symbol = checker.getSymbolAtLocation(member.name);
        return symbol === undefined || docOf(symbol) === '' || !undefinedIsNone(member);
      })
      .map(([name]) => name);
    expect(wrong).toEqual([]);
  });

  test('what is told needs no look at a source file', () => {
    const members = (symbol: ts.Symbol): ReadonlyArray<ts.Symbol> => [
      symbol,
      ...(ours(symbol).some(ts.isInterfaceDeclaration) ? [...(symbol.members?.values() ?? [])] : []),
    ];
    const elsewhere = told(entry)
      .flatMap(members)
      .map((symbol) => [symbol.name, docOf(symbol)] as const)
      .filter(([, doc]) => /\w\.ts\b|\bmodule's header/.test(doc))
      .map(([name]) => name);
    expect(elsewhere).toEqual([]);
  });

  test('what is told to be looked up has a name', () => {
    const names = new Set(entries.flatMap(exportsOf).map(({ name }) => name));
    const known = (name: string): boolean => names.has(name) || name === 'layers';
    const unknown = told(entry).flatMap((symbol) =>
      [...docOf(symbol).matchAll(/\bsee `(\w+)/gi)]
        .map(([, name = '']) => name)
        .filter((name) => !known(name) && !/^(inPlace|preparedCache|stoppingStrategy)$/.test(name)),
    );
    expect(unknown).toEqual([]);
  });
});

test.each(['SftSetup', 'SftRun', 'StepResult', 'Batch', 'Formatted', 'Tokenized', 'Labelled', 'LogRow', 'Evaluated'])(
  'every member of %s says what it holds',
  (record) => {
    const members = entries
      .flatMap(exportsOf)
      .filter(({ name }) => name === record)
      .flatMap((symbol) => checker.getDeclaredTypeOfSymbol(meant(symbol)).getProperties())
      .filter((member) => ours(member).length > 0);
    expect(members.length).toBeGreaterThan(1);
    expect(members.filter((member) => docOf(member) === '').map(({ name }) => name)).toEqual([]);
  },
);

test('the types of a module that is a value have names, too', () => {
  const modules = entries.flatMap(exportsOf).map(meant).filter(moduleOf);
  expect(modules.map(({ name }) => name)).toEqual(['layers']);
  for (const symbol of modules) {
    const names = (of: ReadonlyArray<ts.Symbol>): ReadonlyArray<string> => of.map(({ name }) => name).sort();
    const types = checker
      .getExportsOfModule(moduleOf(symbol) ?? symbol)
      .filter((one) => (meant(one).flags & ts.SymbolFlags.Value) === 0);
    expect(names(checker.getExportsOfModule(symbol))).toEqual(names(types));
  }
});

test('the types of a module that is a value say beside it what they say there', () => {
  const told = (text: string): string => text.replace(/\s+/g, ' ').replace(/[.:]$/, '');
  for (const symbol of entries.flatMap(exportsOf).map(meant).filter(moduleOf)) {
    const there = new Map(checker.getExportsOfModule(moduleOf(symbol) ?? symbol).map((one) => [one.name, meant(one)]));
    for (const type of checker.getExportsOfModule(symbol)) {
      const own = there.get(type.name);
      const doc = docOf(type);
      expect({ name: type.name, doc: doc === '' ? doc : own && told(docOf(own)).slice(0, told(doc).length) }).toEqual({
        name: type.name,
        doc: told(doc) === '' ? 'what it is' : told(doc),
      });
    }
  }
});

test('what is exported is called as where it is declared, or an editor would show a name that nobody can import', () => {
  const renamed = entries.flatMap(exportsOf).filter((symbol) => meant(symbol).name !== symbol.name);
  expect(renamed.map(({ name }) => name)).toEqual([]);
});

test('every type that the surface names is exported', () => {
  const exported = new Set(entries.flatMap((entry) => [...exportsOf(entry).map(meant), ...told(entry)]));
  const seen = new Set<ts.Symbol>(exported);
  const hidden = new Set<string>();
  for (const symbol of seen) {
    for (const named of ours(symbol).flatMap(namedIn)) {
      seen.add(named);
      if (!exported.has(named) && !isNameable(named)) hidden.add(named.name);
    }
  }
  expect(seen.size).toBeGreaterThan(exported.size);
  expect([...hidden]).toEqual([]);
});

test('parameters and results in the reference are of types that can be imported', () => {
  const elsewhere =
    /^(?:AsyncGenerator|AsyncIterable|Either|Float32Array|Int32Array|Iterable|MonoTypeOperatorFunction|NoInfer|Observable|OperatorFunction|Partial|Pick|Promise|Readonly|ReadonlyArray|Record|TaskEither|Tensor)$/;
  const parts = entries.flatMap(exportsOf).map(meant).flatMap(partsOf);
  const names = new Set([...entries.flatMap(exportsOf), ...parts].map(({ name }) => name));
  const unknown = [...readFileSync(page, 'utf8').matchAll(/^ *- (?:\*\*)?`[\w.]+`(?:\*\*)? `([^`]+)`/gm)].flatMap(
    ([, signature = '']) => {
      const parameters = /^<([^>]*)>/.exec(signature)?.[1]?.split(/[ ,]+/) ?? [];
      return [...signature.matchAll(/(?<![\w."'])[A-Z]\w+/g)]
        .map(([name]) => name)
        .filter((name) => !names.has(name) && !elsewhere.test(name) && !parameters.includes(name));
    },
  );
  expect([...new Set(unknown)]).toEqual([]);
});

test('the reference is what `npm run docs` writes', () => {
  expect(readFileSync(page, 'utf8')).toBe(referenceOf(program));
});
