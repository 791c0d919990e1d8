/** ChatML, as TRL's `setup_chat_format` sets it up. */
export const chatMl = {
  bosToken: '<|im_start|>',
  eosToken: '<|im_end|>',
  template:
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
} as const;
