import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      'dist',
      'node_modules',
      'native/build',
      '**/*.mjs',
      '**/*.cjs',
      '**/*.js',
      '!native/*.mjs',
      '!eslint.config.js',
      '!src/train/report/client.js',
    ],
  },
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/array-type': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // exactOptionalPropertyTypes and dictionaries by name make bracket access the checked form.
      '@typescript-eslint/dot-notation': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { ignoreRestSiblings: true, argsIgnorePattern: '^_', varsIgnorePattern: '^_' },
      ],
      'no-console': 'error',
      // A fifth of the lint's time: there are no enums here, and hardly a class.
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
    },
  },
  {
    // Its first line, which names node, keeps it from the program that is made once for a run: it would get one of its own.
    files: ['src/cli/main.ts'],
    languageOptions: { parserOptions: { projectService: false, project: './tsconfig.json' } },
  },
  {
    // Runs in a browser; its types are checked by tsconfig.client.json.
    files: ['src/train/report/client.js'],
    ...tseslint.configs.disableTypeChecked,
    languageOptions: {
      parserOptions: { projectService: false },
      globals: Object.fromEntries(
        ['document', 'window', 'EventSource', 'ResizeObserver', 'requestAnimationFrame', 'matchMedia'].map((name) => [
          name,
          'readonly',
        ]),
      ),
    },
  },
  {
    // Programs of the build and this page, without types.
    files: ['native/*.mjs', 'eslint.config.js'],
    ...tseslint.configs.disableTypeChecked,
    languageOptions: {
      parserOptions: { projectService: false },
      globals: { console: 'readonly', performance: 'readonly', process: 'readonly' },
    },
  },
  { files: ['src/cli/**', 'native/*.mjs', 'examples/**', 'bench/**', 'reference/**'], rules: { 'no-console': 'off' } },
);
