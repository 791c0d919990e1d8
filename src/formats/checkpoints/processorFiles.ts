/** How images, videos and sounds become a model's input, by transformers' names: kept beside a model that is trained on text. */
export const processorFiles: ReadonlyArray<string> = [
  'preprocessor_config.json',
  'processor_config.json',
  'video_preprocessor_config.json',
];
