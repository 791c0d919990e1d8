// Imports point one way: formats ← operators ← train ← cli; streams ← operators, train; formats ← model ← train.
const only = (name, from, allowed) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: {
    path: '^src/',
    pathNot: [from, '^src/(records|errors|seed|tfjs|moduleUrl|nearest|faults|checked)\\.ts$', ...allowed],
  },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    only('streams-know-nothing', '^src/streams/', []),
    only('formats-know-nothing', '^src/formats/', []),
    only('operators', '^src/operators/', ['^src/streams/', '^src/formats/']),
    only('model', '^src/model/', ['^src/formats/']),
    only('native-names-kernels-only', '^src/native/', ['^src/model/kernels/']),
    only('train', '^src/train/', ['^src/(streams|operators|formats|model|native)/']),
    {
      name: 'no-barrel-inside',
      severity: 'error',
      from: { path: '^src/(streams|operators|formats|model|native|train)/' },
      to: { path: '^src/(index|data)\\.ts$' },
    },
    {
      // Only who asks for the laws needs fast-check.
      name: 'laws-stand-outside',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/laws/' },
      to: { path: '^src/laws/' },
    },
    {
      name: 'native-is-lazy',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(native/|train/engine\\.ts$)' },
      to: { path: '^src/native/' },
    },
    {
      name: 'rxjs-lives-in',
      severity: 'error',
      from: { path: '^src/(formats|model|native)/' },
      to: { path: 'node_modules/rxjs' },
    },
    {
      name: 'tfjs-lives-in',
      severity: 'error',
      from: { path: '^src/(formats|operators|streams|cli)/' },
      to: { path: '(node_modules/@tensorflow|^src/tfjs\\.ts$)' },
    },
    {
      // It is loaded when a tensor is first made; types of it are anybody's.
      name: 'tfjs-is-lazy',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/tfjs\\.ts$' },
      to: { path: 'node_modules/@tensorflow', dependencyTypesNot: ['dynamic-import', 'type-only'] },
    },
    {
      // `rxtune --help` answers at once: what a command needs is loaded when it is called.
      name: 'help-is-light',
      severity: 'error',
      from: { path: '^src/cli/(main|command|commands|inFlags|names)\\.ts$' },
      to: {
        path: '^(src|node_modules)/',
        pathNot:
          '^(src/cli/(commands?|inFlags|names)\\.ts|src/errors\\.ts|src/nearest\\.ts|node_modules/commander/.*)$',
        dependencyTypesNot: ['dynamic-import', 'type-only'],
      },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
