/** Whether options ask for TRL 0.7.10 to the letter. */
export const isParity = ({ parity }: { readonly parity?: 'trl-0.7.10' | undefined }): boolean =>
  parity === 'trl-0.7.10';
