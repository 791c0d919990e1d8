/** The files that a tokenizer can be made of, as transformers names them. */
export const tokenizerFiles: ReadonlyArray<string> = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
];
