/**
 * Writes docs/reference.md, every name that can be imported, out of the declarations and their docstrings: `npm run docs`. A test
 * (test/surface.test.ts) asks that the page is what this gives.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const sources = join(root, 'src');
export const page = join(root, 'docs', 'reference.md');

/** What can be imported, in the order in which it is told; of a name in several, the first tells it. */
export const entries = ['data.ts', 'index.ts', 'laws/index.ts'].map((name) => join(sources, name));

/** Titles of the folders of sources, in order; what stands at their top comes first. */
const chapters = [
  ['', 'Records, errors, random draws', 'rxtune/data'],
  ['streams', 'Streams', 'rxtune/data'],
  ['formats', 'Formats', 'rxtune/data'],
  ['operators', 'Operators, each with its pure half', 'rxtune/data'],
  ['model', 'Models', 'rxtune'],
  ['train', 'Training', 'rxtune'],
  ['laws', 'Laws', 'rxtune/laws'],
];

/** The sources behind the entries, with their types. */
export const programOf = () => {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path));
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  return ts.createProgram(entries, options);
};

/** A docstring up to the end of its first sentence, on one line, without the program that may stand behind it. */
const firstSentence = (text) => {
  const [paragraph = ''] = text.trim().split(/\n\s*\n|\n {4}|\n?```/);
  const line = paragraph.replace(/\s+/g, ' ').trim();
  return /^.*?(?:[.:](?= [A-Z`[(])|[.:]$|$)/.exec(line)?.[0].replace(/:$/, '.') ?? line;
};

/** Parameters and result without the modules that they come from. */
const plain = (text) => text.replace(/import\("[^"]*"\)\.|\bE\.(?=Either\b)/g, '').replace(/\s+/g, ' ');

const longestSignature = 240;

const typeFlags = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope;

/** What the page is to be, of such a program. */
export const referenceOf = (program) => {
  const checker = program.getTypeChecker();
  const meant = (symbol) => ((symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol));
  const docOf = (symbol) => firstSentence(ts.displayPartsToString(symbol.getDocumentationComment(checker)));

  const isOurs = (declaration) => declaration.getSourceFile().fileName.startsWith(sources);
  /** `(options: PackOptions): …` of a function, nothing of what is none, is overloaded or takes a paragraph. */
  const signatureOf = (symbol, declaration) => {
    const [signature, ...others] = checker.getTypeOfSymbolAtLocation(symbol, declaration).getCallSignatures();
    if (signature === undefined || others.length > 0) return '';
    // What is declared to be of a type says more by its name.
    if (ts.isVariableDeclaration(declaration) && declaration.type !== undefined)
      return plain(declaration.type.getText());
    const text = plain(checker.signatureToString(signature, declaration, typeFlags));
    return text.length <= longestSignature ? text : '';
  };
  /** Members that were inherited behind its own, as they stand in their files: the checker's order depends on what it was asked before. */
  const inOrder = (declaration) => {
    const placeOf = ({ declarations: [own] = [] }) => {
      const file = own?.getSourceFile();
      return file === declaration.getSourceFile() ? ['', own?.pos] : [file?.fileName ?? '', own?.pos];
    };
    return (a, b) => {
      const [[fileA, posA], [fileB, posB]] = [placeOf(a), placeOf(b)];
      return fileA === fileB ? posA - posB : fileA < fileB ? -1 : 1;
    };
  };
  /** Names of a record's members, `?` behind those that may be left out. */
  const membersOf = (symbol, declaration) =>
    ts.isInterfaceDeclaration(declaration)
      ? checker
          .getDeclaredTypeOfSymbol(symbol)
          .getProperties()
          .filter(({ name, declarations = [] }) => /^[a-z]\w*$/.test(name) && declarations.every(isOurs))
          .sort(inOrder(declaration))
          .map(({ name, flags }) => `${name}${(flags & ts.SymbolFlags.Optional) === 0 ? '' : '?'}`)
      : [];
  /** The parts of a name that stands for a module. */
  const partsOf = (symbol, declaration) => {
    const module = checker.getTypeOfSymbolAtLocation(symbol, declaration).getSymbol();
    return module !== undefined && (module.flags & ts.SymbolFlags.ValueModule) !== 0
      ? checker.getExportsOfModule(module)
      : [];
  };

  const seen = new Set();
  const told = entries.flatMap((entry) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(entry));
    return checker.getExportsOfModule(module).flatMap((symbol) => {
      if (seen.has(symbol.name)) return [];
      seen.add(symbol.name);
      const of = meant(symbol);
      const declaration = of.declarations?.[0];
      if (declaration === undefined) return [];
      const file = relative(sources, declaration.getSourceFile().fileName);
      if (file.startsWith('..')) return [];
      const [folder] = file.includes(sep) ? file.split(sep) : [''];
      const value = (of.flags & ts.SymbolFlags.Value) !== 0;
      return [{ name: symbol.name, folder, value, doc: docOf(of), declaration, symbol: of }];
    });
  });

  /** What stands behind a name: parameters and result of a function, the members of a record. */
  const shapeOf = (symbol, declaration, value) => {
    const signature = value ? signatureOf(symbol, declaration) : '';
    const members = value ? [] : membersOf(symbol, declaration);
    const has = members.length > 0 ? ` (${members.map((member) => `\`${member}\``).join(', ')})` : '';
    return `${signature === '' ? '' : ` \`${signature}\``}${has}`;
  };
  const line = ({ name, value, doc, declaration, symbol }) => {
    const parts = (value ? partsOf(symbol, declaration) : []).map((part) => {
      const of = meant(part);
      const shape = shapeOf(of, of.declarations?.[0] ?? declaration, (of.flags & ts.SymbolFlags.Value) !== 0);
      return `  - \`${name}.${part.name}\`${shape}: ${docOf(of)}`;
    });
    return [`- **\`${name}\`**${shapeOf(symbol, declaration, value)}: ${doc}`, ...parts].join('\n');
  };
  const chapter = ([folder, title, entry]) => {
    const own = told.filter((one) => one.folder === folder).sort((a, b) => a.name.localeCompare(b.name, 'en'));
    const [values, types] = [own.filter(({ value }) => value), own.filter(({ value }) => !value)];
    return [
      `## ${title}`,
      `From \`${entry}\`.`,
      values.map(line).join('\n'),
      ...(types.length > 0 ? [`Types:`, types.map(line).join('\n')] : []),
    ].join('\n\n');
  };
  const missing = told.filter(({ folder }) => chapters.every(([known]) => known !== folder));
  if (missing.length > 0) throw new Error(`no chapter for ${missing.map(({ name }) => name).join(', ')}`);
  return `${[
    '# Reference',
    'Every name that can be imported, with the first sentence of what an editor shows of it: functions with their parameters, records with\ntheir members (`?`: may be left out). `npm run docs` writes this page. `rxtune` has what `rxtune/data` has, too.',
    ...chapters.map(chapter),
  ].join('\n\n')}\n`;
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = referenceOf(programOf());
  const before = readFileSync(page, { encoding: 'utf8', flag: 'a+' });
  if (before !== text) writeFileSync(page, text);
  console.log(
    `${relative(process.cwd(), page)}: ${text.split('\n').length} lines${before === text ? ', as before' : ''}`,
  );
}
