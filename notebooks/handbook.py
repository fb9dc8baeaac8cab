"""The data of the notebooks: the support pages of an invented electric bicycle, questions, and an embedding."""

import logging
import re
import warnings
import zlib

from langchain_core.embeddings import Embeddings

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns when its first import on a machine takes long
warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars are plain text here

PASSAGES = {
    "battery-charge": "Charge the battery indoors, between 10 and 30 degrees. An empty battery takes four and a half "
    "hours, and the green light on the charger goes out when it is full.",
    "battery-cold": "Lithium cells give less current when they are cold. Below freezing expect about two thirds of the "
    "usual range; keep the battery in the house over night and put it in just before you set off.",
    "battery-storage": "If you won't ride for more than a month, leave the battery at about half and keep it somewhere "
    "dry and cool. Top it up every three months, or the cells are damaged.",
    "battery-remove": "Turn the key in the down tube to the left, press the grey button and lift the battery out. The "
    "contacts are live: don't touch them with metal.",
    "battery-replace": "After about a thousand full cycles the battery holds 70 percent of its first capacity. A new "
    "one costs 449 euros and fits without tools.",
    "range": "With the middle level and a rider of 75 kilograms one charge lasts for 80 to 110 kilometres on the flat. "
    "Hills, wind from ahead and soft tyres cost most.",
    "assist-levels": "There are four levels of assistance: eco, tour, sport and boost. Change them with the plus and "
    "minus keys at the left grip.",
    "speed-limit": "The motor stops helping at 25 kilometres an hour, as European law asks of pedelecs. Above that you "
    "ride with your own strength; the limit can't be switched off.",
    "walk-assist": "To push the bicycle up a ramp, hold the minus key for three seconds. The motor then moves it at "
    "walking pace as long as the key is held.",
    "display-dark": "If the display stays dark, check that the battery has locked into place, hold the power key for "
    "ten seconds, and charge for an hour. Then call the workshop.",
    "error-e07": "E07 means that the sensor at the rear wheel sees no magnet. The magnet has usually slipped along its "
    "spoke: move it back opposite the sensor, with a gap of five millimetres.",
    "error-e10": "E10 means that the motor is too hot. Ride without assistance for ten minutes, and it comes back by "
    "itself.",
    "error-e21": "E21 means that battery and display don't understand each other after an update. Take the battery out, "
    "wait a minute, and put it back.",
    "brake-squeal": "New disc brakes squeal until they are run in. Brake firmly from 20 to 5 kilometres an hour, thirty "
    "times. If they still squeal, there is oil on the discs: clean them with alcohol.",
    "brake-pads": "Replace the pads when less than one millimetre of the lining is left, on average after 2,000 "
    "kilometres. Pull the lever only when the wheel is in.",
    "tyre-pressure": "Pump the tyres to 3.5 bar, to 4 bar with luggage. Soft tyres puncture more easily and cost range.",
    "tyre-puncture": "To mend a puncture at the rear, unplug the motor's cable at the left chain stay before you loosen "
    "the axle. Don't bend the cable.",
    "chain": "Oil the chain every 200 kilometres and after rain. At 0.75 percent of stretch it must be replaced, "
    "otherwise it wears the sprockets out.",
    "cleaning": "Wash with a bucket and a sponge. Never use a high-pressure cleaner: the water gets past the seals of "
    "motor and bearings.",
    "lights": "The front light has 80 lux and gets its current from the main battery. A reserve for two hours of light "
    "is kept when the assistance has switched itself off.",
    "lock": "The frame lock takes the same key as the battery. The number on the key is needed for a copy: write it "
    "down.",
    "lost-key": "If both keys are gone, the manufacturer sends a new cylinder against the invoice; a copy of a key takes "
    "five working days.",
    "app-pairing": "Open the app, choose Add bicycle, and hold the plus key until the display shows a code. Enter the "
    "code within 30 seconds.",
    "app-theft": "When the bicycle moves while it is locked in the app, your telephone rings and the position is kept "
    "for 48 hours. The tracker has a battery of its own.",
    "transport-car": "On a carrier for two bicycles look at the weight: this one has 24 kilograms, without the battery "
    "21. Carry the battery inside of the car.",
    "transport-train": "Long-distance trains take it with a bicycle ticket and a reservation. Batteries of more than "
    "100 watt hours aren't allowed on passenger aircraft.",
    "warranty": "Frame and fork have a warranty of ten years, motor and electronics of two. Wear, such as chain, pads "
    "and tyres, is not covered, nor is a battery above 70 percent of its capacity.",
    "service": "The first service is due after 300 kilometres, the next ones once a year or every 3,000 kilometres. "
    "Without them the warranty ends.",
}
MANUAL = "\n\n".join(PASSAGES.values())  # one long document, some 900 tokens

QUESTIONS = {  # a question, and the passages that answer it
    "does the battery last less long in winter?": {"battery-cold"},
    "how should I store the battery when I go away for half a year?": {"battery-storage"},
    "can it go faster than 25 kilometres an hour?": {"speed-limit"},
    "can I take the battery on a plane?": {"transport-train"},
    "what can I do when the display stays dark?": {"display-dark"},
    "the motor is too hot": {"error-e10"},
    "how do I stop my brakes from squealing?": {"brake-squeal"},
    "may I use a high-pressure washer?": {"cleaning"},
    "what tyre pressure do I need with luggage?": {"tyre-pressure"},
    "will I notice when my bike is stolen?": {"app-theft"},
    "who pays for a broken motor in the second year?": {"warranty"},
    "I lost my keys": {"lost-key"},
}


def word_vector(text: str) -> list[float]:
    """Return hashed word counts: a first stage that knows words, and no meaning."""
    vector = [0.0] * 256
    for word in re.findall(r"\w+", text.casefold()):
        vector[zlib.crc32(word.encode()) % 256] += 1.0
    return vector


class WordVectors(Embeddings):
    """The embedding for LangChain."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return [word_vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return a question's vector."""
        return word_vector(text)


def llama_word_vectors():
    """Return the same embedding for LlamaIndex, which only one notebook imports."""
    from llama_index.core.embeddings import BaseEmbedding

    class LlamaWordVectors(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return word_vector(text)

        def _get_query_embedding(self, query: str) -> list[float]:
            return word_vector(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return word_vector(query)

    return LlamaWordVectors()
