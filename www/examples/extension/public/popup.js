const form = document.forms[0];
const output = form.querySelector('output');

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  output.value = 'Reading …';
  const { decision, score, message } = await chrome.runtime.sendMessage({ text: form.elements.text.value });
  output.value = message ?? `${decision} ${score.toFixed(2)}`;
});
