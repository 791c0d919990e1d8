export type TemplateErrorCode = 'E_TEMPLATE_SYNTAX' | 'E_TEMPLATE_RENDER' | 'E_TEMPLATE_RAISED' | 'E_TEMPLATE_LIMIT';

/** What stops a template; caught where rendering begins and handed on as a value. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  readonly code: TemplateErrorCode;
  /** 1-based line of the template, where known. */
  readonly line: number | undefined;

  constructor(code: TemplateErrorCode, message: string, line?: number) {
    super(message);
    this.code = code;
    this.line = line;
  }
}

export const fail = (message: string): never => {
  throw new TemplateError('E_TEMPLATE_RENDER', message);
};
