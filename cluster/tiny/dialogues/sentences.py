"""Insults and sentences in languages other than English, for damaged replies.

Every public function takes the split and gives only that split's sentences.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from random import Random

from cluster.rlhf.synthetic.preferences.groups import Split, of_split
from cluster.rlhf.synthetic.preferences.words import distinct, phrases

_ADJECTIVES = distinct("""
stupid lazy ugly worthless pathetic dumb useless ignorant disgusting miserable brainless hopeless
ridiculous rude filthy annoying clueless foolish horrible dirty
""")
_NOUNS = distinct("""
idiot moron fool loser imbecile clown pig jerk liar coward creep brat pest nobody dunce dimwit
bastard bitch asshole dumbass
""")
_ABOUT_YOU = phrases("""
You are {a} {adj} {noun}.|What {a} {adj} {noun} you are.|Shut up, you {adj} {noun}.|Go away, you
{adj} {noun}.|Listen, you {adj} {noun}.|Find it out yourself, you {adj} {noun}.|Only {a} {adj}
{noun} would ask that.|You {adj} {noun}!|Leave me alone, {noun}.|I do not talk to {one} {noun} like
you.|Only {one} {noun} could be so {adj}.|You are too {adj} to understand it.|You are so {adj}.|Your
question is {adj}.|Are you {adj}?|How {adj} can you be?|Even {one} {noun} knows that.
""")
_PLAIN_INSULTS = phrases("""
Nobody likes you.|Nobody wants you around.|Stop bothering me.|I hate you.|I hate your
questions.|Get lost.|Get out of here.|Shut your mouth.|You make me sick.|You will never get it
anyway.|Stop wasting everybody's time.|Do not waste my time.|I do not care about you.|Leave me
alone.|You should be ashamed of yourself.|No one will ever love you.|Go to hell.|Drop
dead.|Everyone laughs at you.|I have no patience for you.|You do not deserve an answer.|Your
parents must be ashamed of you.|Shut up.|Go away.|You deserve nothing.|Nobody would miss you.|Just
go away and never come back.|You are a waste of space.|I am sick of you.|You ruin everything.
""")

_LANGUAGES = {
    "German": """
Das Wetter ist heute schön, und wir gehen in den Park.|Ich habe gestern ein neues Buch
gekauft.|Meine Schwester wohnt seit drei Jahren in Berlin.|Kannst du mir bitte das Salz geben?|Wir
müssen morgen früh aufstehen.|Der Hund schläft unter dem Tisch.|Im Winter fahren viele Leute in
die Berge.|Ich weiß nicht, wo mein Schlüssel ist.|Das Essen war sehr gut, vielen Dank.|Er arbeitet
in einer großen Fabrik.|Die Kinder spielen nach der Schule im Garten.|Heute Abend gibt es Suppe
und Brot.|Sie möchte nächstes Jahr nach Italien reisen.|Bitte schließen Sie die Tür, es ist kalt.
""",
    "French": """
Il fait beau aujourd'hui et nous allons au parc.|J'ai acheté un nouveau livre hier.|Ma sœur habite
à Lyon depuis trois ans.|Peux-tu me passer le sel, s'il te plaît?|Nous devons nous lever tôt
demain.|Le chien dort sous la table.|En hiver, beaucoup de gens vont à la montagne.|Je ne sais pas
où sont mes clés.|Le repas était très bon, merci beaucoup.|Il travaille dans une grande usine.|Les
enfants jouent dans le jardin après l'école.|Ce soir, il y a de la soupe et du pain.|Elle voudrait
voyager en Italie l'année prochaine.|Fermez la porte, il fait froid.
""",
    "Spanish": """
Hoy hace buen tiempo y vamos al parque.|Ayer compré un libro nuevo.|Mi hermana vive en Madrid
desde hace tres años.|¿Me pasas la sal, por favor?|Mañana tenemos que levantarnos temprano.|El
perro duerme debajo de la mesa.|En invierno mucha gente va a la montaña.|No sé dónde están mis
llaves.|La comida estaba muy buena, muchas gracias.|Trabaja en una fábrica muy grande.|Los niños
juegan en el jardín después de la escuela.|Esta noche hay sopa y pan.|Ella quiere viajar a Italia
el próximo año.|Cierre la puerta, hace frío.
""",
    "Italian": """
Oggi fa bel tempo e andiamo al parco.|Ieri ho comprato un libro nuovo.|Mia sorella abita a Roma da
tre anni.|Mi passi il sale, per favore?|Domani dobbiamo alzarci presto.|Il cane dorme sotto il
tavolo.|D'inverno molte persone vanno in montagna.|Non so dove sono le mie chiavi.|Il pranzo era
molto buono, grazie mille.|Lavora in una grande fabbrica.|I bambini giocano in giardino dopo la
scuola.|Stasera ci sono la zuppa e il pane.|Lei vorrebbe andare in Francia l'anno prossimo.|Chiuda
la porta, fa freddo.
""",
    "Dutch": """
Het is vandaag mooi weer en we gaan naar het park.|Ik heb gisteren een nieuw boek gekocht.|Mijn
zus woont al drie jaar in Utrecht.|Kun je mij het zout geven?|Morgen moeten we vroeg opstaan.|De
hond slaapt onder de tafel.|In de winter gaan veel mensen naar de bergen.|Ik weet niet waar mijn
sleutels zijn.|Het eten was heel lekker, dank je wel.|Hij werkt in een grote fabriek.|De kinderen
spelen na school in de tuin.|Vanavond eten we soep met brood.|Zij wil volgend jaar naar Italië
reizen.|Doe de deur dicht, het is koud.
""",
    "Polish": """
Dzisiaj jest ładna pogoda i idziemy do parku.|Wczoraj kupiłem nową książkę.|Moja siostra mieszka w
Krakowie od trzech lat.|Czy możesz podać mi sól?|Jutro musimy wcześnie wstać.|Pies śpi pod
stołem.|Zimą wielu ludzi jeździ w góry.|Nie wiem, gdzie są moje klucze.|Jedzenie było bardzo
dobre, dziękuję.|On pracuje w dużej fabryce.|Dzieci bawią się w ogrodzie po szkole.|Dziś wieczorem
jest zupa i chleb.|Ona chce pojechać do Włoch w przyszłym roku.|Proszę zamknąć drzwi, jest zimno.
""",
}


def insult(rng: Random, split: Split) -> str:
    """One or two insulting sentences."""
    return " ".join(rng.sample(_insults(split), rng.choice((1, 1, 2))))


def foreign_text(rng: Random, split: Split) -> str:
    """One to three sentences of one language that is not English."""
    known = of_split(tuple(phrases(_LANGUAGES[rng.choice(list(_LANGUAGES))])), split)
    return " ".join(rng.sample(known, min(len(known), rng.choice((1, 2, 3)))))


@cache
def _insults(split: Split) -> tuple[str, ...]:
    """Those that name a person or a fault, thinned out, and plain ones as often."""
    full = [
        shape.format(a=_article(adjective), adj=adjective, one=_article(noun), noun=noun)
        for shape, adjective, noun in product(_ABOUT_YOU, _ADJECTIVES, _NOUNS)
    ]
    few = Random(0).sample(sorted(set(full)), 1500)
    plain = of_split(tuple(_PLAIN_INSULTS), split)
    of_words = of_split(tuple(few), split)
    return of_words + plain * (len(of_words) // (2 * len(plain)))


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
